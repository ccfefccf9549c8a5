"""A comparison that people have labelled, with what judges answered to it: what a calibration is computed from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from app.rlaif.annotation import GivenAnswer, settled
from app.rlaif.beliefs import Belief, beliefs_of
from app.rlaif.comparison import Answer, InvalidReason, Verdict

OUTCOMES = {Answer.A: 1.0, Answer.TIE: 0.5, Answer.B: 0.0}


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer of one judge; `invalid` says why it is missing."""

    verdict: Verdict
    invalid: InvalidReason | None


@dataclass(frozen=True)
class Labelled:
    """`outcome` is 1 where people prefer the first, 0 the second, 0.5 a tie, between where they state a probability.

    `people` holds each person's answer. An author is the family that wrote a completion, None where unknown. Lengths
    are in tokens or characters, one unit for all.
    """

    prompt_id: str
    cohort: str
    outcome: float
    people: tuple[GivenAnswer, ...]
    asked: tuple[Asked, ...]
    lengths: tuple[int, int]
    authors: tuple[str | None, str | None] = (None, None)

    @cached_property
    def beliefs(self) -> dict[str, Belief]:
        """By judge id; a judge without a valid answer in each order has none."""
        return beliefs_of(each.verdict for each in self.asked)

    def by(self, judge_id: str) -> tuple[Asked, ...]:
        return tuple(each for each in self.asked if each.verdict.judge_id == judge_id)

    def swap(self) -> Labelled:
        """The same, seen from the other side."""
        return replace(
            self,
            outcome=1.0 - self.outcome,
            people=tuple(replace(each, answer=each.answer.swap()) for each in self.people),
            asked=tuple(replace(each, verdict=each.verdict.swap()) for each in self.asked),
            lengths=self.lengths[::-1],
            authors=self.authors[::-1],
        )


def outcome_of(people: Iterable[GivenAnswer]) -> float | None:
    """What people's answers settle on; None where they are divided."""
    answer = settled(people)
    return None if answer is None else OUTCOMES[answer]


def longer_first(each: Labelled) -> float:
    """1 where the first is longer, 0 where the second is, 0.5 for one length: the prefer-longer baseline's answer."""
    first, second = each.lengths
    return 0.5 if first == second else float(first > second)
