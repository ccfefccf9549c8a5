"""How a provider's API is spoken: where a question goes, in which words, and what an answer to it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.rlaif.questions import AnswerFormat
from app.rlaif.rendering import ChatMessages
from app.rlaif.replies import Reply


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one exchange; `cached_tokens` of the prompt's were in the provider's cache."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A complete answer: the reply as questions read it, what was written, and what it took where that is told."""

    reply: Reply
    text: str
    usage: Usage | None


class Dialect(Protocol):
    """One provider's API."""

    path: str

    def headers(self, api_key: str | None) -> Mapping[str, str]:
        """With every call; the key in the header in which this provider wants it."""
        ...

    def payload(self, messages: ChatMessages, format_: AnswerFormat) -> dict[str, Any]: ...

    def read(self, body: bytes) -> Exchanged:
        """Raises pydantic's ValidationError for a body that is no complete answer."""
        ...


def room(max_tokens: int, format_: AnswerFormat) -> int:
    """Tokens that a reply may have: what the judge allows, and never less than its answer needs."""
    return max(max_tokens, format_.room)
