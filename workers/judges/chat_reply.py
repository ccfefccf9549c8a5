"""The part of an OpenAI chat completion that a judge reads; everything else in it is ignored."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, FiniteFloat

from app.rlaif.replies import Finish, Reply, ReplyToken
from workers.judges.dialect import Usage

_TokenCount = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Alternative(BaseModel):
    token: str
    logprob: FiniteFloat


class Token(BaseModel):
    token: str
    top_logprobs: list[Alternative] = []


class Logprobs(BaseModel):
    content: list[Token] | None = None


class ReplyMessage(BaseModel):
    content: str | None = None
    refusal: str | None = None


class Choice(BaseModel):
    message: ReplyMessage
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class PromptTokens(BaseModel):
    cached_tokens: _TokenCount | None = None


class TokenCounts(BaseModel):
    prompt_tokens: _TokenCount
    completion_tokens: _TokenCount
    prompt_tokens_details: PromptTokens | None = None

    def counted(self) -> Usage:
        details = self.prompt_tokens_details
        cached = 0 if details is None else min(details.cached_tokens or 0, self.prompt_tokens)
        return Usage(self.prompt_tokens, self.completion_tokens, cached)


class ChatReply(BaseModel):
    choices: Annotated[list[Choice], Field(min_length=1)]
    usage: TokenCounts | None = None

    @property
    def text(self) -> str:
        message = self.choices[0].message
        return message.content or message.refusal or ""

    def reply(self) -> Reply:
        """The reply in the one shape that every question reads."""
        choice = self.choices[0]
        tokens = (choice.logprobs.content if choice.logprobs else None) or []
        return Reply(
            choice.message.content or "",
            finish=self._finish(),
            tokens=tuple(
                ReplyToken(token.token, {each.token: each.logprob for each in token.top_logprobs}) for token in tokens
            ),
        )

    def _finish(self) -> Finish:
        choice = self.choices[0]
        if choice.message.refusal or choice.finish_reason == "content_filter":
            return Finish.REFUSED
        return Finish.LENGTH if choice.finish_reason == "length" else Finish.STOP
