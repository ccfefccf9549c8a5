"""Sampling in process with transformers: one batched decode loop, seeded per completion.

Prompts of similar length share a batch, padded on the left. Where rounding could decide a token, the row is computed
once more alone, so that in float32 a completion is the same in every batch. In bfloat16 rounding is too coarse for
that: there a completion is only reproduced by the batch it was drawn in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from workers.sampling.engine import (
    FinishReason,
    Progress,
    PromptTooLong,
    SampledCompletion,
    SampleRequest,
    SamplingStopped,
)
from workers.sampling.language_model import LanguageModel, encode, pad_left, render_prompt
from workers.sampling.nucleus import choose, seeded_uniforms


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
        began, tokens = time.monotonic(), 0
        for start in range(0, len(units), batch_size):
            batch = units[start : start + batch_size]
            drawn = self._decode(
                batch,
                temperature=temperature,
                top_p=top_p,
                max_new_tokens=max_new_tokens,
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

    @torch.inference_mode()
    def _decode(
        self,
        batch: Sequence[_Unit],
        *,
        temperature: float,
        top_p: float,
        max_new_tokens: int,
        should_stop: Callable[[], bool],
    ) -> list[list[int]] | None:
        """Token ids of each completion, its stop token included; None when asked to stop."""
        language_model = self._language_model
        device = language_model.device
        stops = torch.tensor(sorted(language_model.stop_ids), device=device)
        uniforms = torch.stack([seeded_uniforms(unit.request.seed, max_new_tokens) for unit in batch]).to(device)
        drawn = torch.full((len(batch), max_new_tokens), int(stops[0]), device=device)
        state = _Decoding(language_model.model, *pad_left([unit.prompt for unit in batch], device=device))
        for position in range(max_new_tokens):
            if should_stop():
                return None
            ahead = uniforms[state.rows, position]
            choice = choose(state.next_logits(), ahead, temperature=temperature, top_p=top_p)
            for place in choice.doubtful.nonzero().flatten().tolist() if self._exact else ():
                row = int(state.rows[place])
                logits = self._logits_alone(batch[row].prompt + drawn[row, :position].tolist())
                alone = choose(logits, ahead[place : place + 1], temperature=temperature, top_p=top_p)
                choice.tokens[place] = alone.tokens[0]
            drawn[state.rows, position] = choice.tokens
            if not state.advance(choice.tokens, finished=torch.isin(choice.tokens, stops)):
                break
        return [_until_stop(row, language_model.stop_ids) for row in drawn.tolist()]

    def _logits_alone(self, ids: list[int]) -> torch.Tensor:
        """Logits (1, vocabulary) of the next token of one sequence: no batch, no padding, no cache."""
        sequence = torch.tensor([ids], device=self._language_model.device)
        logits: torch.Tensor = self._language_model.model(sequence, use_cache=False, logits_to_keep=1).logits[:, -1]
        return logits

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


class _Decoding:
    """The rows still being decoded: their cache, attention mask, last token, and place in the original batch."""

    def __init__(self, model: Any, ids: torch.Tensor, mask: torch.Tensor) -> None:
        self._model = model
        self._input, self._mask = ids, mask
        self._positions = (mask.cumsum(dim=-1) - 1).clamp_(min=0)
        self._cache = DynamicCache(config=model.config)
        self._live = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
        self.rows = torch.arange(len(ids), device=ids.device)

    def next_logits(self) -> torch.Tensor:
        """Logits (rows, vocabulary) of the next token, from one forward pass over what the cache has not seen."""
        output = self._model(
            input_ids=self._input,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def advance(self, tokens: torch.Tensor, *, finished: torch.Tensor) -> bool:
        """Append a token to every row; false when all have finished. Half a batch of finished rows is dropped."""
        self._live &= ~finished
        live = int(self._live.sum())
        self._input = tokens.unsqueeze(-1)
        self._positions = self._positions[:, -1:] + 1
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=-1)
        if live * 2 <= len(tokens):
            self._keep(self._live.nonzero().squeeze(-1))
        return live > 0

    def _keep(self, kept: torch.Tensor) -> None:
        self._cache.batch_select_indices(kept)
        self._input, self._mask, self._positions = self._input[kept], self._mask[kept], self._positions[kept]
        self.rows, self._live = self.rows[kept], self._live[kept]


def _until_stop(ids: list[int], stop_ids: frozenset[int]) -> list[int]:
    """The row up to and with its first stop token: what a finished row went on to draw is noise."""
    for index, token in enumerate(ids):
        if token in stop_ids:
            return ids[: index + 1]
    return ids
