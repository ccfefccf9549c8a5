"""What the best of n answers by the reward model is worth: what a policy could gain without being trained."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.rlaif.beliefs import mean
from app.rlaif.evidence import BestOfN


def best_of_n(rewards: Sequence[Sequence[float]]) -> list[BestOfN]:
    """For n = 1, 2, ... the mean reward of the best of n, from the rewards of each prompt's answers.

    Each prompt counts by the mean over all its subsets of n answers, which is unbiased. Prompts with fewer answers than
    the others are left out; empty where no prompt has two. The KL bound log n - (n - 1) / n is that of Stiennon et al.,
    "Learning to summarize from human feedback" (arXiv 2009.01325).
    """
    most = max(map(len, rewards), default=0)
    ranked = [sorted(each) for each in rewards if len(each) == most]
    if most < 2:
        return []
    return [
        BestOfN(n=n, reward=mean(_expected_best(each, n) for each in ranked), kl=math.log(n) - (n - 1) / n)
        for n in range(1, most + 1)
    ]


def _expected_best(ranked: Sequence[float], n: int) -> float:
    """The mean over all subsets of n of ascending values: the value at place i is the best of C(i, n - 1) of them."""
    ways = math.comb(len(ranked), n)
    return math.fsum(value * (math.comb(place, n - 1) / ways) for place, value in enumerate(ranked))
