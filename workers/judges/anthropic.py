"""Anthropic's Messages API. It gives no log-probabilities, so every answer is a vote; JSON comes by a forced tool call.

https://docs.anthropic.com/en/api/messages
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from app.rlaif.judges import AnthropicJudge
from app.rlaif.questions import AnswerFormat, AnswerStyle
from app.rlaif.rendering import ChatMessages
from app.rlaif.replies import Finish, Reply
from workers.judges.dialect import Exchanged, Usage, room

TOOL = "answer"
_TokenCount = Annotated[int, Field(ge=0, le=2**31 - 1)]
_FINISHES = {
    "refusal": Finish.REFUSED,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
}


class _Block(BaseModel):
    """One block of a message; kinds that a judge does not read, such as thinking, have neither text nor input."""

    type: str
    text: str = ""
    input: dict[str, Any] | None = None


class _Tokens(BaseModel):
    input_tokens: _TokenCount
    output_tokens: _TokenCount
    cache_read_input_tokens: _TokenCount | None = None
    cache_creation_input_tokens: _TokenCount | None = None

    def counted(self) -> Usage:
        """The API counts what came from its cache or went into it apart from the other input."""
        cached = self.cache_read_input_tokens or 0
        prompt = self.input_tokens + cached + (self.cache_creation_input_tokens or 0)
        return Usage(prompt, self.output_tokens, cached)


class _Message(BaseModel):
    type: Literal["message"]
    content: list[_Block]
    stop_reason: str | None
    usage: _Tokens | None = None

    @property
    def text(self) -> str:
        """The tool's input where the tool was called, else what was written."""
        called = [block.input for block in self.content if block.type == "tool_use" and block.input is not None]
        if called:
            return json.dumps(called[-1], ensure_ascii=False)
        return "".join(block.text for block in self.content if block.type == "text")


class Messages:
    path = "/messages"

    def __init__(self, spec: AnthropicJudge) -> None:
        self._spec = spec

    def headers(self, api_key: str | None) -> Mapping[str, str]:
        key = {"x-api-key": api_key} if api_key else {}
        return {"anthropic-version": self._spec.version, **key}

    def payload(self, messages: ChatMessages, format_: AnswerFormat) -> dict[str, Any]:
        """The system message goes beside the others, and the answer's schema is a tool that must be called."""
        spec = self._spec
        payload: dict[str, Any] = {
            "model": spec.model,
            "max_tokens": room(spec.max_tokens, format_),
            "system": "\n\n".join(each["content"] for each in messages if each["role"] == "system"),
            "messages": [each for each in messages if each["role"] != "system"],
        }
        if spec.temperature is not None:
            payload["temperature"] = spec.temperature
        if spec.answer_format is AnswerStyle.JSON_SCHEMA and format_.schema is not None:
            tool = {"name": TOOL, "description": format_.demand, "input_schema": format_.schema}
            payload |= {"tools": [tool], "tool_choice": {"type": "tool", "name": TOOL}}
        return payload

    def read(self, body: bytes) -> Exchanged:
        message = _Message.model_validate_json(body)
        finish = _FINISHES.get(message.stop_reason or "", Finish.STOP)
        usage = None if message.usage is None else message.usage.counted()
        return Exchanged(Reply(message.text, finish), message.text, usage)
