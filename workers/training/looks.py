"""Looks at a policy while it learns: it answers a few held-out prompts greedily, and a judge that does not reward it
rates the answers. What that judge thinks is compared, prompt by prompt, with what it thought before the first step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from workers.sampling.decoding import Drawing
from workers.sampling.language_model import LanguageModel
from workers.training.online_config import OnlineConfig
from workers.training.pairs import within_window
from workers.training.rewards import Reward
from workers.training.rollouts import RolloutSource, TrainPrompt


@dataclass(frozen=True)
class HeldOut:
    """Prompts that are not trained on, who rates the answers to them, and how many steps lie between two looks.

    A rating that could not be had is None, and missing: it is never 0.
    """

    prompts: Sequence[TrainPrompt]
    judge: Reward
    every: int


class Looks:
    """The looks of one training."""

    def __init__(self, config: OnlineConfig, policy: LanguageModel, held_out: HeldOut) -> None:
        """Raises `NoTrainingData` when no prompt leaves room for an answer."""
        self._source = RolloutSource(
            policy,
            held_out.prompts,
            drawing=Drawing(0.0, 1.0, config.max_new_tokens, exact=False),
            completions=1,
            prompts_per_step=len(held_out.prompts),
            max_length=within_window(config.max_length, policy.model),
            seed=config.seed,
        )
        self._judge, self._every, self._at_once = held_out.judge, held_out.every, config.batch_size
        self.first: dict[str, float] | None = None
        """Ratings by prompt before the first step; None before they are known."""

    def begin(self) -> None:
        """Look at the policy as it starts, unless that is known. Raises what the judge raises."""
        if self.first is None:
            self.first = self._ratings()

    def due(self, step: int, *, of: int) -> bool:
        return step % self._every == 0 or step == of

    def look(self) -> dict[str, float]:
        """The figures of a look; what has no rating now and at first is in none. Raises what the judge raises."""
        return compared(self.first or {}, self._ratings())

    def _ratings(self) -> dict[str, float]:
        groups = self._source.draw(0, at_once=self._at_once, should_stop=lambda: False)
        rated = zip(groups or (), self._judge(groups or ()), strict=True)
        return {group.rollouts[0].prompt.id: rating for group, rating in rated if rating is not None}


def compared(first: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """Means over the prompts rated both times, the mean change, and its standard error; nothing below two prompts."""
    common = sorted(first.keys() & now.keys())
    if len(common) < 2:
        return {}
    changes = [now[name] - first[name] for name in common]
    return {
        "held_out_judge": mean(now[name] for name in common),
        "held_out_judge_at_first": mean(first[name] for name in common),
        "held_out_judge_change": mean(changes),
        "held_out_judge_error": stdev(changes) / math.sqrt(len(changes)),
    }
