"""Log-probabilities of completions under a causal model, with the language-model head on completion positions only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from workers.training.pairs import EncodedPair, pad_right


@dataclass(frozen=True)
class PairLogprobs:
    """Sums over the tokens of each completion, in nats, and the number of those tokens; all of shape (pairs,)."""

    first: torch.Tensor
    second: torch.Tensor
    first_tokens: torch.Tensor
    second_tokens: torch.Tensor


class CompletionScorer:
    """Scores both completions of a batch of pairs in one forward pass."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._head_is_plain = _head_is_plain(model)

    @property
    def device(self) -> torch.device:
        device: torch.device = self._model.device
        return device

    def score(self, pairs: Sequence[EncodedPair]) -> PairLogprobs:
        """Log-probabilities of the batch's completions, with gradients where they are enabled."""
        completions = [pair.first for pair in pairs] + [pair.second for pair in pairs]
        prompts = [pair.prompt for pair in pairs] * 2
        ids, mask = pad_right([p + c for p, c in zip(prompts, completions, strict=True)], pad_id=0)
        starts = torch.tensor([len(prompt) for prompt in prompts])
        positions = torch.arange(ids.shape[1])
        answered = (mask.bool() & (positions >= starts.unsqueeze(1)))[:, 1:]
        ids, mask, answered = ids.to(self.device), mask.to(self.device), answered.to(self.device)
        logits = self._logits(ids, mask, answered)
        tokens = -cross_entropy(logits.float(), ids[:, 1:][answered], reduction="none")
        placed = tokens.new_zeros(answered.shape).masked_scatter(answered, tokens)
        first, second = placed.sum(dim=1).chunk(2)
        first_tokens, second_tokens = answered.sum(dim=1).chunk(2)
        return PairLogprobs(first, second, first_tokens, second_tokens)

    def _logits(self, ids: torch.Tensor, mask: torch.Tensor, answered: torch.Tensor) -> torch.Tensor:
        """Logits (completion tokens, vocabulary) that predict each completion token."""
        if not self._head_is_plain:
            full: torch.Tensor = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            return full[:, :-1][answered]
        hidden = self._model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        logits: torch.Tensor = self._model.get_output_embeddings()(hidden[:, :-1][answered])
        return logits


@torch.no_grad()
def _head_is_plain(model: Any) -> bool:
    """Whether the logits are the output embeddings of the last hidden state: some families scale or cap them."""
    ids = torch.arange(8, device=model.device).unsqueeze(0)
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    expected = model(input_ids=ids, use_cache=False).logits
    return bool(torch.allclose(model.get_output_embeddings()(hidden), expected, rtol=1e-4, atol=1e-5))
