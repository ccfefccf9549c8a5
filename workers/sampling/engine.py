"""What every sampling engine takes and gives. Imports no torch, so a stage may name these types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

Messages = Sequence[Mapping[str, Any]]
"""Chat turns in the OpenAI format: `{"role": ..., "content": ...}`, perhaps with `tool_calls`."""

Tools = Sequence[Mapping[str, Any]]
"""Tool definitions in the OpenAI format, handed to the chat template as they are."""


class SamplingStopped(Exception):
    """Raised when the caller asked to stop; everything yielded before it is complete, the batch at hand is dropped."""

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"sampling stopped after {done} of {total} completions; sample the rest to go on")
        self.done = done
        self.total = total


class PromptTooLong(Exception):
    """Raised before anything is drawn when a prompt and its answer exceed the model's window: it would be garbage."""

    def __init__(self, key: str, tokens: int, *, max_new_tokens: int, window: int) -> None:
        super().__init__(
            f"the prompt of completion {key} has {tokens} tokens, which with max_new_tokens {max_new_tokens} is beyond "
            f"the model's window of {window}; leave it out or lower max_new_tokens"
        )


class FinishReason(StrEnum):
    STOP = "stop"
    LENGTH = "length"


class Progress(Protocol):
    """How long work reports itself and learns that it should stop; called from the thread that does the work."""

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None: ...

    def should_stop(self) -> bool: ...


@dataclass(frozen=True)
class SampleRequest:
    """One completion to draw: its key is the caller's, its seed decides every random choice in it."""

    key: str
    messages: Messages
    seed: int
    tools: Tools | None = None


@dataclass(frozen=True)
class SampledCompletion:
    """A drawn completion. `token_count` includes the stop token, where there is one; `text` does not."""

    key: str
    text: str
    token_count: int
    prompt_token_count: int
    finish_reason: FinishReason
    seed: int
