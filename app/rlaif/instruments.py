"""How the beliefs of a run's judges become one probability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from app.rlaif.beliefs import Belief, mean


class Instrument(Protocol):
    """Reads all judges' beliefs about one comparison."""

    def probability(self, beliefs: Mapping[str, Belief]) -> float | None:
        """P(first is better); None where the beliefs, by judge id, do not suffice."""
        ...


class EqualVotes:
    """The mean of the judges that have a belief: what is left when no calibration says what each is worth."""

    def probability(self, beliefs: Mapping[str, Belief]) -> float | None:
        return mean(belief.probability for belief in beliefs.values()) if beliefs else None


EQUAL_VOTES = EqualVotes()
