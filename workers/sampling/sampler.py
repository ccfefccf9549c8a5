"""Answers prompts batch by batch with whichever engine draws the tokens, seeded per completion.

Prompts of similar length share a batch. What is drawn for a prompt depends on its seed; on its batch only as far as the
engine's rounding does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from workers.sampling.decoding import Drawing
from workers.sampling.engine import (
    FinishReason,
    Progress,
    PromptTooLong,
    SampledCompletion,
    SampleRequest,
    SamplingStopped,
)
from workers.sampling.language_model import encode, render_prompt


class Engine(Protocol):
    """What draws tokens: a model with its tokenizer, wherever its weights are."""

    tokenizer: Any
    stop_ids: frozenset[int]
    window: int | None
    exact: bool
    """Whether a completion is the same in every batch."""

    def decode(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        drawing: Drawing,
        should_stop: Callable[[], bool],
    ) -> list[list[int]] | None:
        """Token ids of each prompt's completion, its stop token included; None when asked to stop."""
        ...


@dataclass(frozen=True)
class _Unit:
    request: SampleRequest
    prompt: list[int]


class Sampler:
    """Answers prompts with one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def sample(
        self,
        requests: Sequence[SampleRequest],
        *,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        batch_size: int,
        progress: Progress,
    ) -> Iterator[SampledCompletion]:
        """Completions batch by batch, shortest prompts first.

        Raises `PromptTooLong` before the first, and `SamplingStopped`, looked for as often as the engine can.

        Metrics reported after each batch: `completions_per_second`, `tokens_per_second`.
        """
        units = sorted((self._encode(request) for request in requests), key=lambda unit: len(unit.prompt))
        self._require_window(units, max_new_tokens)
        drawing = Drawing(temperature, top_p, max_new_tokens, exact=self._engine.exact)
        began, tokens = time.monotonic(), 0
        for start in range(0, len(units), batch_size):
            batch = units[start : start + batch_size]
            drawn = self._engine.decode(
                [unit.prompt for unit in batch],
                [unit.request.seed for unit in batch],
                drawing=drawing,
                should_stop=progress.should_stop,
            )
            if drawn is None:
                raise SamplingStopped(start, len(units))
            yield from (self._completion(unit, ids) for unit, ids in zip(batch, drawn, strict=True))
            done, tokens = start + len(batch), tokens + sum(len(ids) for ids in drawn)
            seconds = time.monotonic() - began
            rates = {"completions_per_second": done / seconds, "tokens_per_second": tokens / seconds}
            progress.report(done, len(units), rates)

    def _encode(self, request: SampleRequest) -> _Unit:
        tokenizer = self._engine.tokenizer
        return _Unit(request, encode(tokenizer, render_prompt(tokenizer, request.messages, tools=request.tools)))

    def _require_window(self, units: Sequence[_Unit], max_new_tokens: int) -> None:
        window = self._engine.window
        if units and window is not None and len(units[-1].prompt) + max_new_tokens > window:
            key, tokens = units[-1].request.key, len(units[-1].prompt)
            raise PromptTooLong(key, tokens, max_new_tokens=max_new_tokens, window=window)

    def _completion(self, unit: _Unit, ids: list[int]) -> SampledCompletion:
        stopped = bool(ids) and ids[-1] in self._engine.stop_ids
        text = self._engine.tokenizer.decode(ids, skip_special_tokens=True)
        return SampledCompletion(
            key=unit.request.key,
            text=text,
            token_count=len(ids),
            prompt_token_count=len(unit.prompt),
            finish_reason=FinishReason.STOP if stopped else FinishReason.LENGTH,
            seed=unit.request.seed,
        )
