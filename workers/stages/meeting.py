"""Comparisons of an evaluation, each seen from one of its sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from app.db.models import CompletionSource
from app.rlaif.beliefs import lean
from app.rlaif.comparison import Answer
from app.rlaif.length_control import OUTCOMES
from app.rlaif.selection import Outcomes
from workers.stages.instrument import Reading, Side


@dataclass(frozen=True, slots=True)
class Meeting:
    """One comparison seen from one side: `ours` is the policy, or in a control the first of two base completions."""

    unit: str
    prompt_id: str
    cohort: str
    ours: Side
    theirs: Side
    probability: float | None  # that ours is better

    @property
    def outcome(self) -> Answer | None:
        """A when ours wins, B when it loses; None without verdicts in both orders."""
        return None if self.probability is None else lean(self.probability)

    def is_of(self, candidate: int) -> bool:
        """Whether a policy, this candidate, met the base model; a control is of none."""
        return self.ours.source is CompletionSource.POLICY and self.ours.candidate == candidate

    def by_reward(self) -> Meeting:
        """The same, seen from the side with the higher reward; it says nothing where none is higher."""
        one, other = self.ours.reward, self.theirs.reward
        if one is None or other is None or one == other:
            return replace(self, probability=None)
        if one > other:
            return self
        turned = None if self.probability is None else 1.0 - self.probability
        return replace(self, ours=self.theirs, theirs=self.ours, probability=turned)


def meeting_of(reading: Reading) -> Meeting:
    probability = reading.probability
    sides = [(reading.first, probability), (reading.second, None if probability is None else 1.0 - probability)]
    (ours, chance), (theirs, _) = sorted(sides, key=_place)
    return Meeting(reading.unit, reading.prompt_id, reading.cohort, ours, theirs, chance)


def _place(side: tuple[Side, float | None]) -> tuple[bool, int]:
    return side[0].source is not CompletionSource.POLICY, side[0].position


def outcomes(contests: Iterable[Meeting]) -> Outcomes:
    """Of what was judged, by prompt and by the policy's completion."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for item in contests:
        if item.outcome is not None:
            found[item.unit][item.ours.position] = OUTCOMES[item.outcome]
    return found


def chances(meetings: Iterable[Meeting]) -> dict[str, float]:
    """Probabilities by the two completions' ids; both judges' meetings put the lower position first."""
    return {f"{item.ours.id} {item.theirs.id}": item.probability for item in meetings if item.probability is not None}
