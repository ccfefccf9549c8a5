"""Pairs to judge, given by hand: a pair to try a judge on, and golden examples, the unit tests of a rubric."""

from __future__ import annotations

import operator
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.rlaif.messages import Chat, Message, Role, Spoken, as_turns

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.:-]{0,99}$")]


class Expected(StrEnum):
    """The right answer: the first response is better, the second is, or neither."""

    A = "A"
    B = "B"
    TIE = "TIE"


class JudgedPair(BaseModel):
    """A prompt and two responses to it, as text or as chat messages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Chat = Field(description="The user's text, or the chat messages so far")
    first: Chat = Field(description="Called A: a text, or the turns of a trajectory")
    second: Chat = Field(description="Called B")
    reference: Spoken | None = Field(None, description="A good answer, where one is known", exclude_if=operator.not_)
    tools: Annotated[tuple[dict[str, Any], ...], Field(max_length=128)] = Field(
        (), description="Function definitions that the responses could call", exclude_if=operator.not_
    )

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        last = self.messages()[-1]
        if last.role not in (Role.USER, Role.TOOL):
            raise ValueError(f"prompt: the last message must be the user's or a tool's, not the {last.role}'s")
        if not any((message.content or "").strip() for message in self.messages()):
            raise ValueError("prompt: it is empty, write something to answer")
        if as_turns(self.first) == as_turns(self.second):
            raise ValueError("first and second are the same response: there is nothing to judge")
        return self

    def messages(self) -> tuple[Message, ...]:
        """The prompt as chat messages."""
        if isinstance(self.prompt, str):
            return (Message(role=Role.USER, content=self.prompt),)
        return self.prompt


class GoldenExample(JudgedPair):
    """A pair whose right answer is known: one of the rubric's unit tests."""

    name: Name
    expected: Expected
    reason: Annotated[str, StringConstraints(min_length=1, max_length=20_000)] | None = Field(
        None, description="Why, for people; no judge sees it", exclude_if=operator.not_
    )
