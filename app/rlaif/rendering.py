"""Prompts and responses as a judge reads them: JSON data between delimiters that their authors cannot know.

What several questions share is rendered once: a prompt is in many of them, and each response in several.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

from app.rlaif.messages import Message, Role
from app.rlaif.quotation import quoted
from app.rlaif.rubric import Criterion, Rubric

Turns = tuple[Message, ...]
ChatMessages = tuple[dict[str, str], ...]
Block = tuple[str, str]
"""The name of a piece of data, and the piece as JSON."""

TOOL_RESULT_CHARACTERS = 4_000
DELIMITER_CHARACTERS = 16


@dataclass(frozen=True)
class Response:
    """A completion as a judge sees it: all of its turns. `candidate` is its place among a prompt's own candidates."""

    turns: Turns
    candidate: int | None = None

    @cached_property
    def data(self) -> str:
        return _turns(self.turns)

    @property
    def is_trajectory(self) -> bool:
        """Whether there are single turns to speak of."""
        return len(self.turns) > 1


@dataclass(frozen=True)
class Case:
    """One prompt, and what its responses are judged by.

    `prompt_id` is the author's own. `rubric` already holds the prompt's own criteria; `tools` are the function
    definitions that the responses could call. `key` makes the delimiters unpredictable to whoever wrote the
    responses: with one key, equal questions are equal to the letter.
    """

    prompt: Turns
    rubric: Rubric
    key: bytes
    prompt_id: str = ""
    reference: str | None = None
    tools: Sequence[Mapping[str, Any]] | None = None

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """What every question about the case shows before the responses."""
        return tuple(self._blocks())

    def draw(self, responses: Sequence[Response]) -> bytes:
        """32 bytes that only the key's holder can tell, equal for equal responses in whatever order they are shown."""
        drawn = self._keyed.copy()
        for data in sorted(response.data for response in responses):
            drawn.update(framed(data))
        return drawn.digest()

    @cached_property
    def _keyed(self) -> hmac.HMAC:
        keyed = hmac.new(self.key, digestmod=hashlib.sha256)
        for _, content in self.blocks:
            keyed.update(framed(content))
        return keyed

    def _blocks(self) -> Iterator[Block]:
        yield "prompt", _turns(self.prompt)
        if self.reference:
            yield "reference", quoted(self.reference)
        if self.tools:
            yield "tools", quoted(list(self.tools))


def delimited(blocks: Sequence[Block], drawn: bytes) -> str:
    """The blocks between delimiter lines, whose beginning quoted data cannot hold."""
    delimiter = drawn.hex()[:DELIMITER_CHARACTERS]
    shown = "\n".join(f"<<<{delimiter} {name}>>>\n{content}" for name, content in blocks)
    return f"{shown}\n<<<{delimiter} end>>>"


def shuffled(size: int, drawn: bytes) -> list[int]:
    """The places 0 to `size` - 1 in an order that `drawn` decides."""
    return sorted(range(size), key=lambda place: hashlib.sha256(drawn + place.to_bytes(4, "big")).digest())


class Scale(Enum):
    """Which end of a criterion's scale anchors comes first."""

    RISING = "rising"
    FALLING = "falling"


def demands(rubric: Rubric, *, principle: str | None, places: Iterable[int], scale: Scale) -> str:
    """What the rubric asks for, its criteria in the order of `places`."""
    parts = [rubric.description] if rubric.description else []
    shown = (_criterion(rubric.criteria[place], scale) for place in places)
    criteria = (f"{number}. {criterion}" for number, criterion in enumerate(shown, start=1))
    parts.append("Criteria:\n" + "\n".join(criteria))
    if principle:
        parts.append(f"Principle to keep in mind: {principle}")
    return "\n\n".join(parts)


def prompt_hash(messages: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 of the messages' canonical JSON: which question a verdict answers, to the letter."""
    canonical = json.dumps(list(messages), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _criterion(criterion: Criterion, scale: Scale) -> str:
    lines = [f"{criterion.name} (weight {criterion.weight:g}): {criterion.description}"]
    anchors = criterion.anchors if scale is Scale.RISING else criterion.anchors[::-1]
    lines += [f"   {anchor.score} of 10: {anchor.description}" for anchor in anchors]
    return "\n".join(lines)


def framed(content: str) -> bytes:
    """Bytes that say where they end, so that no two sequences of contents are the same bytes."""
    encoded = content.encode("utf-8", "surrogatepass")
    return len(encoded).to_bytes(8, "big") + encoded


def _turns(messages: Sequence[Message]) -> str:
    return quoted([_turn(index, message) for index, message in enumerate(messages, 1)])


def _turn(index: int, message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"turn": index, "role": message.role.value}
    if message.name:
        turn["name"] = message.name
    if message.content is not None:
        turn["content"] = _shortened(message.content) if message.role is Role.TOOL else message.content
    if message.tool_calls:
        turn["tool_calls"] = [
            {"tool": call.function.name, "arguments": call.function.arguments} for call in message.tool_calls
        ]
    return turn


def _shortened(result: str) -> str:
    if (left_out := len(result) - TOOL_RESULT_CHARACTERS) <= 0:
        return result
    return f"{result[:TOOL_RESULT_CHARACTERS]} [{left_out} more characters]"
