"""How long a scripted endpoint takes to answer, and how long the best possible client needs for it."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

STRAGGLER_SHARE = 0.01
STRAGGLER_TIMES = 30
SIGMA = 1.0
"""Of the logarithm of a heavy-tailed latency: one call in a hundred takes six times the mean."""


class Shape(StrEnum):
    CONSTANT = "constant"
    HEAVY = "heavy"
    STRAGGLERS = "stragglers"


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds a call takes, drawn in the order in which calls arrive; the same draws in every run.

    `base_s` is the mean of a constant and of a heavy-tailed latency, and what all but the stragglers take.
    """

    shape: Shape
    base_s: float
    seed: int = 1

    def draws(self) -> Iterator[float]:
        draw = random.Random(self.seed)
        while True:
            match self.shape:
                case Shape.CONSTANT:
                    yield self.base_s
                case Shape.HEAVY:
                    yield draw.lognormvariate(math.log(self.base_s) - SIGMA**2 / 2, SIGMA)
                case Shape.STRAGGLERS:
                    yield self.base_s * (STRAGGLER_TIMES if draw.random() < STRAGGLER_SHARE else 1)

    def mean_s(self, calls: int) -> float:
        """Of the first `calls` draws."""
        return math.fsum(islice(self.draws(), calls)) / calls

    def ideal_s(self, calls: int, *, in_flight: int) -> float:
        """The time of a client that costs nothing: each call begins when one of `in_flight` before it has ended."""
        ends = [0.0] * in_flight
        for latency in islice(self.draws(), calls):
            heapq.heapreplace(ends, ends[0] + latency)
        return max(ends)
