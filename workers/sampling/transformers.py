"""Sampling in process with transformers: one batched decode loop, seeded per completion.

Prompts of similar length share a batch, padded on the left. Where rounding could decide a token, the row is computed
once more alone, so that in float32 a completion is the same in every batch. In bfloat16 rounding is too coarse for
that: there a completion is only reproduced by the batch it was drawn in.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from workers.sampling.decoding import Drawing, decode
from workers.sampling.engine import (
    FinishReason,
    Progress,
    PromptTooLong,
    SampledCompletion,
    SampleRequest,
    SamplingStopped,
)
from workers.sampling.language_model import LanguageModel, encode, render_prompt


@dataclass(frozen=True)
class _Unit:
    request: SampleRequest
    prompt: list[int]


class TransformersSampler:
    """Answers prompts with a local model on one device."""

    def __init__(self, model_dir: Path, *, device: str | None = None, dtype: torch.dtype | None = None) -> None:
        self._language_model = LanguageModel.load(model_dir, device=device, dtype=dtype)
        self._exact = self._language_model.model.dtype is torch.float32

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

        Raises `PromptTooLong` before the first, and `SamplingStopped`, looked for before each token.

        Metrics reported after each batch: `completions_per_second`, `tokens_per_second`.
        """
        units = sorted((self._encode(request) for request in requests), key=lambda unit: len(unit.prompt))
        self._require_window(units, max_new_tokens)
        drawing = Drawing(temperature, top_p, max_new_tokens, exact=self._exact)
        began, tokens = time.monotonic(), 0
        for start in range(0, len(units), batch_size):
            batch = units[start : start + batch_size]
            drawn = decode(
                self._language_model,
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
        tokenizer = self._language_model.tokenizer
        return _Unit(request, encode(tokenizer, render_prompt(tokenizer, request.messages, tools=request.tools)))

    def _require_window(self, units: Sequence[_Unit], max_new_tokens: int) -> None:
        window = self._language_model.window
        if units and window is not None and len(units[-1].prompt) + max_new_tokens > window:
            key, tokens = units[-1].request.key, len(units[-1].prompt)
            raise PromptTooLong(key, tokens, max_new_tokens=max_new_tokens, window=window)

    def _completion(self, unit: _Unit, ids: list[int]) -> SampledCompletion:
        stopped = ids[-1] in self._language_model.stop_ids
        text = self._language_model.tokenizer.decode(ids, skip_special_tokens=True)
        return SampledCompletion(
            key=unit.request.key,
            text=text,
            token_count=len(ids),
            prompt_token_count=len(unit.prompt),
            finish_reason=FinishReason.STOP if stopped else FinishReason.LENGTH,
            seed=unit.request.seed,
        )
