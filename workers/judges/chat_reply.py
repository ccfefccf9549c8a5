"""The part of an OpenAI chat completion that a judge reads; everything else in it is ignored."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, FiniteFloat

from app.rlaif.judging import PresentedAnswer, answer_place, read_reply

_TokenCount = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Alternative(BaseModel):
    token: str
    logprob: FiniteFloat


class ReplyToken(BaseModel):
    token: str
    top_logprobs: list[Alternative] = []


class Logprobs(BaseModel):
    content: list[ReplyToken] | None = None


class ReplyMessage(BaseModel):
    content: str | None = None
    refusal: str | None = None


class Choice(BaseModel):
    message: ReplyMessage
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class Usage(BaseModel):
    prompt_tokens: _TokenCount
    completion_tokens: _TokenCount


class ChatReply(BaseModel):
    choices: Annotated[list[Choice], Field(min_length=1)]
    usage: Usage | None = None

    @property
    def text(self) -> str:
        message = self.choices[0].message
        return message.content or message.refusal or ""

    def presented_answer(self) -> PresentedAnswer:
        """What the reply says, in presented order; INVALID with its reason if it says nothing plainly."""
        choice = self.choices[0]
        return read_reply(
            choice.message.content or "",
            finish_reason=choice.finish_reason,
            refused=bool(choice.message.refusal) or choice.finish_reason == "content_filter",
            alternatives=_alternatives(choice.logprobs),
        )


def _alternatives(logprobs: Logprobs | None) -> dict[str, float] | None:
    tokens = (logprobs.content if logprobs else None) or []
    place = answer_place([token.token for token in tokens])
    return None if place is None else {each.token: each.logprob for each in tokens[place].top_logprobs}
