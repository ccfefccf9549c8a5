"""What online methods optimise: rewards of rollouts. A reward that could not be had is missing, never zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from workers.sampling.language_model import window_of
from workers.training.checkpoint import load_scalar_model
from workers.training.contracts import Conversation
from workers.training.optimiser import autocast
from workers.training.rollouts import Rollout, RolloutGroup
from workers.training.scoring import encode_conversation, rewards
from workers.training.shared_prompts import PromptGroup


class Reward(Protocol):
    """Scores the rollouts of one step. It may ask a judge, and then raises what the judge raises."""

    def __call__(self, groups: Sequence[RolloutGroup]) -> list[float | None]:
        """One reward a rollout, in the order of the groups; None where there is none."""
        ...


class RewardModelReward:
    """A trained reward model's opinion, read on the token that ends the answer.

    `rereads`: its tokens are not the policy's, so it is given the texts. One beyond its window has no reward.
    """

    def __init__(self, model_dir: Path, *, batch_size: int, rereads: bool = False) -> None:
        self._model = load_scalar_model(model_dir)
        self._batch_size = batch_size
        self._rereads = rereads

    def __call__(self, groups: Sequence[RolloutGroup]) -> list[float | None]:
        if not self._rereads:
            return list(self._scored([self._closed(group) for group in groups]))
        read = [self._reread(rollout) for group in groups for rollout in group.rollouts]
        window = window_of(self._model.model)
        fits = [window is None or each.longest <= window for each in read]
        found = iter(self._scored([each for each, fitting in zip(read, fits, strict=True) if fitting]))
        return [next(found) if fitting else None for fitting in fits]

    @torch.inference_mode()
    def _scored(self, groups: Sequence[PromptGroup]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(groups), self._batch_size):
            with autocast(self._model.model.device):
                found += rewards(self._model, groups[start : start + self._batch_size]).tolist()
        return found

    def _reread(self, rollout: Rollout) -> PromptGroup:
        prompt = rollout.prompt
        return encode_conversation(self._model, Conversation(prompt.messages, rollout.text, prompt.tools))

    def _closed(self, group: RolloutGroup) -> PromptGroup:
        """An answer without an end gets one in place of its last token: a reward model is read nowhere else."""
        return PromptGroup(group.prompt_ids, tuple(map(self._with_end, group.rollouts)))

    def _with_end(self, rollout: Rollout) -> tuple[int, ...]:
        return rollout.ids if rollout.finished else (*rollout.ids[:-1], min(self._model.stop_ids))


@dataclass(frozen=True)
class TextReward:
    """A function of prompt and text, such as the score of a rubric's checks."""

    score: Callable[[Rollout], float | None]

    def __call__(self, groups: Sequence[RolloutGroup]) -> list[float | None]:
        return [self.score(rollout) for group in groups for rollout in group.rollouts]


@dataclass(frozen=True)
class WeightedReward:
    """The weighted sum of named rewards; missing where one of them is."""

    parts: Mapping[str, tuple[Reward, float]]

    def __call__(self, groups: Sequence[RolloutGroup]) -> list[float | None]:
        columns = [(reward(groups), weight) for reward, weight in self.parts.values()]
        rows = zip(*(values for values, _ in columns), strict=True)
        return [_weighted(row, [weight for _, weight in columns]) for row in rows]


def _weighted(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    known = [value * weight for value, weight in zip(values, weights, strict=True) if value is not None]
    return sum(known) if len(known) == len(weights) else None
