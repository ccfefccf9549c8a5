"""What one step of an online method learns from: rollouts, their rewards, and the numbers that are held fixed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from workers.training.completion_logprobs import CompletionScorer
from workers.training.rollouts import Rollout, RolloutGroup
from workers.training.shared_prompts import Packing, PromptGroup


@dataclass(frozen=True)
class Experience:
    """Rows are rollouts, in the order of the groups; tokens beyond a rollout's end are 0 everywhere.

    `rewards` (groups, completions) holds NaN where one is missing. `policy` and `reference` (rows, longest) are
    log-probabilities under the policy that drew the rollouts and under the reference, zeros where there is none;
    `values` (rows, longest) are a critic's. `kept` (rows,) says which rollouts are learned from.
    """

    groups: Sequence[RolloutGroup]
    rewards: torch.Tensor
    policy: torch.Tensor
    reference: torch.Tensor
    values: torch.Tensor
    lengths: torch.Tensor
    kept: torch.Tensor

    @property
    def inside(self) -> torch.Tensor:
        """Whether a place (rows, longest) holds a token of a rollout."""
        return torch.arange(self.policy.shape[1], device=self.policy.device) < self.lengths[:, None]

    @property
    def learned(self) -> torch.Tensor:
        """Whether a place (rows, longest) holds a token that is learned from."""
        return self.inside & self.kept[:, None]

    @property
    def kl(self) -> torch.Tensor:
        """log(policy / reference) (rows,) in nats: its mean estimates KL(policy || reference) a completion."""
        return (self.policy - self.reference).sum(dim=1)


def gathered(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """(rows, any width) of several parts as one (all rows, longest), 0 in the padding."""
    return pad_sequence([row for part in parts for row in part], batch_first=True)


class TokenValues:
    """A critic: the value of the state before each token of a completion, from a scalar model's head."""

    def __init__(self, model: Any, *, shares_prompts: bool) -> None:
        self.model = model
        self._shares_prompts = shares_prompts

    def by_token(self, groups: Sequence[PromptGroup]) -> torch.Tensor:
        """Values (completions, longest), 0 behind a completion's end; with gradients where they are enabled."""
        if self._shares_prompts:
            packing = Packing.of(groups, device=self.model.device)
            hidden = self.model.base_model(**packing.inputs()).last_hidden_state[0]
            return packing.rows(self.model.score(hidden.index_select(0, packing.before)).squeeze(-1).float())
        rows = [self._alone(group.prompt, completion) for group in groups for completion in group.completions]
        return pad_sequence(rows, batch_first=True)

    def _alone(self, prompt: Sequence[int], completion: Sequence[int]) -> torch.Tensor:
        ids = torch.tensor([[*prompt, *completion]], device=self.model.device)
        hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
        values: torch.Tensor = self.model.score(hidden[len(prompt) - 1 : -1]).squeeze(-1).float()
        return values


@torch.no_grad()
def measured(
    groups: Sequence[PromptGroup],
    scorer: CompletionScorer | TokenValues,
    *,
    at_once: int,
    cast: Callable[[], AbstractContextManager[Any]],
) -> torch.Tensor:
    """What a scorer or a critic says by token (rows, longest), some groups at a time, without gradients."""
    parts = []
    for start in range(0, len(groups), at_once):
        with cast():
            parts.append(scorer.by_token(groups[start : start + at_once]).float())
    return gathered(parts)


def described(experience: Experience, given: Sequence[float | None]) -> dict[str, float]:
    """What people watch online training by.

    As a policy collapses to one answer `distinct` falls towards 0 and `shared_ngrams` rises towards 1; `entropy` is in
    nats a token, estimated from the tokens drawn.
    """
    rollouts = [rollout for group in experience.groups for rollout in group.rollouts]
    known = torch.tensor([reward for reward in given if reward is not None])
    figures = {
        "rewarded": len(known) / len(given),
        "completion_tokens": float(experience.lengths.float().mean()),
        "finished": sum(rollout.finished for rollout in rollouts) / len(rollouts),
        "distinct": len({rollout.text for rollout in rollouts}) / len(rollouts),
        "entropy": -float(experience.policy.sum() / experience.lengths.sum()),
    }
    shared = shared_ngrams([[_said(rollout) for rollout in group.rollouts] for group in experience.groups])
    if shared is not None:
        figures["shared_ngrams"] = shared
    if len(known):
        figures |= {"reward": float(known.mean()), "reward_std": float(known.std(correction=0))}
    return figures


_NGRAM = 4


def shared_ngrams(groups: Sequence[Sequence[Sequence[int]]]) -> float | None:
    """Of all 4-grams in the answers (group, answer, token), the share that stands in answers to several prompts.

    None without two prompts, or without an answer of four tokens.
    """
    seen: dict[tuple[int, ...], set[int]] = {}
    counts: Counter[tuple[int, ...]] = Counter()
    for place, answers in enumerate(groups):
        for ids in answers:
            for start in range(len(ids) - _NGRAM + 1):
                ngram = tuple(ids[start : start + _NGRAM])
                counts[ngram] += 1
                seen.setdefault(ngram, set()).add(place)
    if len(groups) < 2 or not counts:
        return None
    return sum(count for ngram, count in counts.items() if len(seen[ngram]) > 1) / counts.total()


def _said(rollout: Rollout) -> tuple[int, ...]:
    """Its tokens but the one that ends it."""
    return rollout.ids[:-1] if rollout.finished else rollout.ids
