"""Preference pairs as token ids: rendered by the model's own template, cut to length, and everything lost counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jinja2 import TemplateError
from torch.nn.functional import logsigmoid

from workers.sampling.language_model import encode, render_prompt, window_of
from workers.training.contracts import (
    Messages,
    NoTrainingData,
    PreferencePair,
    TemplateRefusesPrompt,
    TemplateRewritesPrompt,
    Tools,
)


@dataclass(frozen=True)
class EncodedPair:
    """Token ids of a prompt (with the generation prompt) and of its two completions, each ending in a stop token."""

    id: str
    prompt: tuple[int, ...]
    first: tuple[int, ...]
    second: tuple[int, ...]
    probability: float
    weight: float

    @property
    def length(self) -> int:
        """Tokens of the longer of the two sequences: what the pair is batched by."""
        return len(self.prompt) + max(len(self.first), len(self.second))

    @property
    def token_count(self) -> int:
        return 2 * len(self.prompt) + len(self.first) + len(self.second)

    @property
    def is_tie(self) -> bool:
        return self.probability == 0.5


@dataclass(frozen=True)
class EncodedPairs:
    """Pairs to train on, in the order of their ids, and how many others were cut or left out."""

    pairs: tuple[EncodedPair, ...]
    truncated_pairs: int
    identical_pairs: int
    overlong_prompts: int

    def require_signal(self, offered: int) -> None:
        """Raises `NoTrainingData` when there is nothing to learn from."""
        if not self.pairs:
            reason = (
                f"{self.overlong_prompts} with a prompt that fills max_length or the model's window and "
                f"{self.identical_pairs} identical within it; add preferences or raise max_length"
            )
            raise NoTrainingData(offered, reason)
        if all(pair.is_tie or pair.weight == 0 for pair in self.pairs):
            raise NoTrainingData(offered, "all of them ties or without weight; the judge tells no answer from another")


def encode_answer(
    tokenizer: Any,
    stop_ids: frozenset[int],
    messages: Messages,
    completion: str,
    *,
    tools: Tools | None = None,
    opening: Sequence[int] = (),
) -> tuple[list[int], list[int]]:
    """Token ids of the prompt behind `opening`, and of the completion up to and with its stop token.

    The two are encoded apart, as in sampling, where the prompt is fixed before the completion exists. What a template
    puts after the last stop token (often a line break) is left out; where it puts no stop token, one is added.

    Raises `TemplateRewritesPrompt`, `TemplateRefusesPrompt`.
    """
    answered = [*(dict(message) for message in messages), {"role": "assistant", "content": completion}]
    try:
        prompt = render_prompt(tokenizer, messages, tools=tools)
        text: str = tokenizer.apply_chat_template(answered, tools=tools, tokenize=False)
    except TemplateError as error:
        raise TemplateRefusesPrompt(str(error), str(messages[-1].get("content"))) from error
    if not text.startswith(prompt):
        raise TemplateRewritesPrompt(prompt)
    ids = encode(tokenizer, text[len(prompt) :])
    last = max((index for index, token in enumerate(ids) if token in stop_ids), default=None)
    closed = [*ids, end_token(tokenizer, stop_ids)] if last is None else ids[: last + 1]
    return [*opening, *encode(tokenizer, prompt)], closed


def end_token(tokenizer: Any, stop_ids: frozenset[int]) -> int:
    """The token that ends an answer when the template names none."""
    end: int | None = tokenizer.eos_token_id
    return end if end is not None and end in stop_ids else min(stop_ids)


def within_window(max_length: int, model: Any) -> int:
    """`max_length`, or the model's window where that is shorter: beyond it a model computes garbage."""
    window = window_of(model)
    return max_length if window is None else min(max_length, window)


@dataclass(frozen=True)
class PairEncoder:
    """Turns pairs into token ids of at most `max_length` tokens a sequence, each beginning with `opening`.

    Completions keep their start. `close_truncated` ends a cut completion with the end-of-sequence token, for models
    that are read there; without it a policy does not learn to end in mid-sentence.
    """

    tokenizer: Any
    stop_ids: frozenset[int]
    max_length: int
    close_truncated: bool
    opening: tuple[int, ...] = ()

    def encode_pairs(self, pairs: Sequence[PreferencePair]) -> EncodedPairs:
        """Encode all that fits and differs; raises `TemplateRewritesPrompt`, `TemplateRefusesPrompt`."""
        kept: list[EncodedPair] = []
        truncated = identical = overlong = 0
        for pair in sorted(pairs, key=lambda pair: pair.id):
            full = self._encode_pair(pair)
            cut = self._truncate(full)
            if cut is None:
                overlong += 1
                continue
            if cut.first == cut.second:
                identical += 1
                continue
            truncated += cut != full
            kept.append(cut)
        return EncodedPairs(tuple(kept), truncated, identical, overlong)

    def _encode_pair(self, pair: PreferencePair) -> EncodedPair:
        prompt, first = self._encode(pair, pair.first)
        _, second = self._encode(pair, pair.second)
        return EncodedPair(pair.id, tuple(prompt), tuple(first), tuple(second), pair.probability, pair.weight)

    def _encode(self, pair: PreferencePair, completion: str) -> tuple[list[int], list[int]]:
        return encode_answer(
            self.tokenizer, self.stop_ids, pair.prompt, completion, tools=pair.tools, opening=self.opening
        )

    def _truncate(self, pair: EncodedPair) -> EncodedPair | None:
        room = self.max_length - len(pair.prompt)
        if room < 1:
            return None
        return replace(pair, first=self._cut(pair.first, room), second=self._cut(pair.second, room))

    def _cut(self, ids: tuple[int, ...], room: int) -> tuple[int, ...]:
        if len(ids) <= room:
            return ids
        return (*ids[: room - 1], end_token(self.tokenizer, self.stop_ids)) if self.close_truncated else ids[:room]


def fingerprint(settings: dict[str, Any], pairs: Sequence[object]) -> str:
    """SHA-256 over what decides a training's course, so that a state is only resumed by the training it is of."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for pair in pairs:
        digest.update(repr(pair).encode())
    return digest.hexdigest()


def pad_right(sequences: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both (rows, longest), padded on the right."""
    width = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([list(sequence) + [pad_id] * (width - len(sequence)) for sequence in sequences])
    mask = torch.tensor([[1] * len(sequence) + [0] * (width - len(sequence)) for sequence in sequences])
    return ids, mask


def soft_log_loss(
    difference: torch.Tensor, probability: torch.Tensor, *, lead: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """Cross-entropy of sigmoid(difference) with a soft label, element by element, without overflow.

    With `lead` either side is right only when it is that far ahead.
    """
    return -(probability * logsigmoid(difference - lead) + (1 - probability) * logsigmoid(-difference - lead))
