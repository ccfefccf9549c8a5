"""One batched decode loop, seeded per completion: what samplers and rollouts of a policy in training draw with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache

from workers.sampling.language_model import LanguageModel, pad_left
from workers.sampling.nucleus import choose, seed_keys

_TAIL_TOKENS = 4
"""Tokens looked at beside one for each character of a text to stop at: a character may be several of them."""


@dataclass(frozen=True)
class Drawing:
    """How tokens are drawn. `exact`: where rounding could decide a token, the row is computed once more alone.

    That makes a completion the same in every batch, in float32; bfloat16 is too coarse for it. A row ends at a stop
    token, and where `until` are given once it holds one of these texts; the caller cuts what it drew behind it.
    """

    temperature: float
    top_p: float
    max_new_tokens: int
    exact: bool
    until: tuple[str, ...] = ()


@torch.inference_mode()
def decode(
    language_model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    *,
    drawing: Drawing,
    should_stop: Callable[[], bool],
) -> list[list[int]] | None:
    """Token ids of each prompt's completion, its stop token included; None when asked to stop, before any token."""
    device = language_model.device
    stops = torch.tensor(sorted(language_model.stop_ids), device=device)
    length = drawing.max_new_tokens
    keys = seed_keys(seeds, device=device)
    pick = partial(choose, temperature=drawing.temperature, top_p=drawing.top_p)
    drawn = torch.full((len(prompts), length), int(stops[0]), device=device)
    state = _Decoding(language_model, prompts)
    for position in range(length):
        if should_stop():
            return None
        choice = pick(state.next_logits(), keys[state.rows], position)
        for place in choice.doubtful.nonzero().flatten().tolist() if drawing.exact else ():
            row = int(state.rows[place])
            logits = _logits_alone(language_model, [*prompts[row], *drawn[row, :position].tolist()])
            choice.tokens[place] = pick(logits, keys[row : row + 1], position).tokens[0]
        drawn[state.rows, position] = choice.tokens
        finished = torch.isin(choice.tokens, stops)
        if drawing.until:
            finished |= _said(language_model, drawn[state.rows, : position + 1], drawing.until)
        if not state.advance(choice.tokens, finished=finished):
            break
    return [_until_stop(row, language_model.stop_ids) for row in drawn.tolist()]


def _logits_alone(language_model: LanguageModel, ids: list[int]) -> torch.Tensor:
    """Logits (1, vocabulary) of the next token of one sequence: no batch, no padding, no cache."""
    sequence = torch.tensor([ids], device=language_model.device)
    logits: torch.Tensor = language_model.model(sequence, use_cache=False, logits_to_keep=1).logits[:, -1]
    return logits


class _Decoding:
    """The rows still being decoded: their cache, attention mask, last token, and place in the original batch.

    A prompt that several rows share is read once: its keys and values are then copied to each of them.
    """

    def __init__(self, language_model: LanguageModel, prompts: Sequence[Sequence[int]]) -> None:
        self._model: Any = language_model.model
        distinct = {tuple(prompt): None for prompt in prompts}
        place = {prompt: index for index, prompt in enumerate(distinct)}
        self._input, self._mask = pad_left(list(distinct), device=language_model.device)
        self._positions = (self._mask.cumsum(dim=-1) - 1).clamp_(min=0)
        self._cache = DynamicCache(config=self._model.config)
        self.rows = torch.arange(len(prompts), device=language_model.device)
        self._live = torch.ones_like(self.rows, dtype=torch.bool)
        self._unread: torch.Tensor | None = self.rows.new_tensor([place[tuple(prompt)] for prompt in prompts])

    def next_logits(self) -> torch.Tensor:
        """Logits (rows, vocabulary) of the next token, from one forward pass over what the cache has not seen."""
        logits = self._forward()
        if self._unread is not None:
            prompt_of, self._unread = self._unread, None
            self._cache.batch_select_indices(prompt_of)
            self._mask, self._positions = self._mask[prompt_of], self._positions[prompt_of]
            logits = logits[prompt_of]
        return logits

    def _forward(self) -> torch.Tensor:
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


def _said(language_model: LanguageModel, drawn: torch.Tensor, until: Sequence[str]) -> torch.Tensor:
    """Which rows (rows,) of the tokens drawn so far (rows, tokens) end in, or a little after, one of the texts."""
    tails = drawn[:, -(_TAIL_TOKENS + max(map(len, until))) :].tolist()
    texts = language_model.tokenizer.batch_decode(tails, skip_special_tokens=True)
    return torch.tensor([any(stop in text for stop in until) for text in texts], device=drawn.device)


def _until_stop(ids: list[int], stop_ids: frozenset[int]) -> list[int]:
    """The row up to and with its first stop token: what a finished row went on to draw is noise."""
    for index, token in enumerate(ids):
        if token in stop_ids:
            return ids[: index + 1]
    return ids
