"""Chat messages in the OpenAI format, the one shape in which prompts and trajectories travel."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag

MAX_CONTENT = 200_000
Content = Annotated[str, StringConstraints(max_length=MAX_CONTENT)]


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class ToolFunction(BaseModel):
    """The function that a tool call names, and its arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    arguments: Content | dict[str, Any] = Field(description="JSON text, or the object itself")


class ToolCall(BaseModel):
    """One call that an assistant makes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, StringConstraints(max_length=256)] | None = None
    type: Annotated[str, StringConstraints(pattern="^function$")] = "function"
    function: ToolFunction


class Message(BaseModel):
    """One chat turn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Role
    content: Content | None = None
    name: Annotated[str, StringConstraints(max_length=256)] | None = None
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: Annotated[str, StringConstraints(max_length=256)] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The message as JSON data, absent fields left out."""
        return self.model_dump(mode="json", exclude_none=True)


Spoken = Annotated[Content, StringConstraints(min_length=1)]
Turns = Annotated[tuple[Message, ...], Field(min_length=1, max_length=1000)]


def _form(value: object) -> str:
    return "turns" if isinstance(value, list | tuple) else "text"


Chat = Annotated[Annotated[Spoken, Tag("text")] | Annotated[Turns, Tag("turns")], Discriminator(_form)]
"""A text, or chat messages."""


def as_turns(response: Chat) -> tuple[Message, ...]:
    """A text is the assistant's only turn."""
    return (Message(role=Role.ASSISTANT, content=response),) if isinstance(response, str) else response


def as_response(response: Chat) -> Chat:
    """A response in the one form that says the same: the text of a single spoken turn, else its turns.

    Raises ValueError for turns that are no response: the assistant begins, and what is the system's is not among them.
    """
    if isinstance(response, str):
        return response
    if response[0].role is not Role.ASSISTANT:
        raise ValueError(f"a response begins with the assistant's turn, not the {response[0].role}'s")
    if any(message.role is Role.SYSTEM for message in response):
        raise ValueError("a response holds no system message: it belongs into the prompt")
    only = response[0]
    spoken = len(response) == 1 and only == Message(role=Role.ASSISTANT, content=only.content)
    if spoken and not only.content:
        raise ValueError("a response is not empty")
    return only.content if spoken and only.content else response


def as_json(response: Chat) -> str | list[dict[str, Any]]:
    """The response as it is stored and shown."""
    return response if isinstance(response, str) else [message.as_dict() for message in response]


def transcript(turns: Iterable[Message]) -> str:
    """A trajectory as text, a turn a line: equal for equal trajectories alone."""
    return "\n".join(json.dumps(message.as_dict(), ensure_ascii=False) for message in turns)
