"""Chat messages in the OpenAI format, the one shape in which prompts and trajectories travel."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

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
