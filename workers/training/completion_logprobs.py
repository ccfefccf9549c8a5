"""Log-probabilities of completions under a causal model: each prompt once, and the head on completion positions only.

A model that cannot share prompts is given plain padded rows instead, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint

from workers.training.pairs import pad_right
from workers.training.shared_prompts import Packing, PromptGroup, share_prompts

_LOGITS_AT_ONCE = 2**26  # numbers; beyond it logits are made in parts, and made again for the gradient


class CompletionScorer:
    """Scores all completions of a batch in one forward pass."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._head_is_plain = _head_is_plain(model)
        self.shares_prompts = share_prompts(model)

    @property
    def device(self) -> torch.device:
        device: torch.device = self._model.device
        return device

    def sums(self, groups: Sequence[PromptGroup]) -> torch.Tensor:
        """Log-probability (completions,), in nats, of every completion in the order of the groups.

        With gradients where they are enabled.
        """
        if self.shares_prompts:
            packing = Packing.of(groups, device=self.device)
            return packing.per_completion(self._packed(packing))
        values, answered = self._padded(groups)
        return values.new_zeros(answered.shape).masked_scatter(answered, values).sum(dim=1)

    def by_token(self, groups: Sequence[PromptGroup]) -> torch.Tensor:
        """Log-probabilities (completions, longest) of every token, 0 behind a completion's end; with gradients too."""
        if self.shares_prompts:
            packing = Packing.of(groups, device=self.device)
            return packing.rows(self._packed(packing))
        values, answered = self._padded(groups)
        return pad_sequence(list(torch.split(values, answered.sum(dim=1).tolist())), batch_first=True)

    def _packed(self, packing: Packing) -> torch.Tensor:
        """Of all completions' tokens (tokens,), one completion after the other."""
        if not self._head_is_plain:
            logits = self._model(**packing.inputs(), logits_to_keep=packing.before).logits[0]
            return _logprobs(logits, packing.targets)
        hidden = self._model.base_model(**packing.inputs()).last_hidden_state[0]
        return self._through_head(hidden.index_select(0, packing.before), packing.targets)

    def _padded(self, groups: Sequence[PromptGroup]) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, and where in their rows (completions, longest row - 1) those tokens stand."""
        rows = [([*group.prompt, *each], len(group.prompt)) for group in groups for each in group.completions]
        ids, mask = (part.to(self.device) for part in pad_right([row for row, _ in rows], pad_id=0))
        starts = torch.tensor([start for _, start in rows], device=self.device)
        places = torch.arange(ids.shape[1], device=self.device)
        answered = (mask.bool() & (places >= starts[:, None]))[:, 1:]
        targets = ids[:, 1:][answered]
        if self._head_is_plain:
            hidden = self._model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            values = self._through_head(hidden[:, :-1][answered], targets)
        else:
            full = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            values = _logprobs(full[:, :-1][answered], targets)
        return values, answered

    def _through_head(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Log-probabilities (tokens,) of targets given hidden states (tokens, size)."""
        head = self._model.get_output_embeddings()
        at_once = max(1, _LOGITS_AT_ONCE // head.weight.shape[0])
        if len(targets) <= at_once:
            return _logprobs(head(hidden), targets)
        return torch.cat(list(self._in_parts(head, torch.split(hidden, at_once), torch.split(targets, at_once))))

    @staticmethod
    def _in_parts(head: Any, hidden: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        for states, wanted in zip(hidden, targets, strict=True):
            yield checkpoint(lambda s, t: _logprobs(head(s), t), states, wanted, use_reentrant=False)


def _logprobs(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -cross_entropy(logits.float(), targets, reduction="none")


@torch.no_grad()
def _head_is_plain(model: Any) -> bool:
    """Whether the logits are the output embeddings of the last hidden state: some families scale or cap them."""
    ids = torch.arange(8, device=model.device).unsqueeze(0)
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    expected = model(input_ids=ids, use_cache=False).logits
    return bool(torch.allclose(model.get_output_embeddings()(hidden), expected, rtol=1e-4, atol=1e-5))
