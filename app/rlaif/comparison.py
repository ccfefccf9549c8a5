"""Comparisons and verdicts: what a judge is asked and what it answered.

A verdict is always stored in the comparison's own numbering, whichever order the judge saw: `A` means that the
comparison's first completion is better. A failed verdict is INVALID, which is missing, never a tie and never a zero.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class Answer(StrEnum):
    """A judge's answer, in the comparison's own numbering."""

    A = "A"
    B = "B"
    TIE = "TIE"
    INVALID = "INVALID"

    def swap(self) -> Answer:
        return {Answer.A: Answer.B, Answer.B: Answer.A}.get(self, self)


class Order(StrEnum):
    """Which completion the judge saw first."""

    AB = "AB"
    BA = "BA"


class InvalidReason(StrEnum):
    """Why a verdict is missing."""

    PARSE = "parse"
    REFUSAL = "refusal"
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    SERVER = "server"


UNHEARD = (InvalidReason.SERVER, InvalidReason.TIMEOUT)
"""The reasons that say nothing of the question: the judge may answer it another time."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two completions of one prompt: `first` is what verdicts call A."""

    prompt_id: str
    first: str
    second: str

    def swap(self) -> Comparison:
        return replace(self, first=self.second, second=self.first)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judge's answer to one comparison in one presentation order.

    `probability` is P(first completion is better) in [0, 1]; None where the answer is INVALID. `criterion` is what was
    judged alone, and `weight` what it counts in the whole; empty for the whole rubric.
    """

    judge_id: str
    order: Order
    answer: Answer
    probability: float | None
    repeat: int = 0
    criterion: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        missing = self.answer is Answer.INVALID
        if missing != (self.probability is None):
            raise ValueError(f"a verdict has a probability unless it is INVALID: {self.answer} with {self.probability}")
        if self.probability is not None and not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"probability {self.probability} is outside [0, 1]")

    def swap(self) -> Verdict:
        """The same verdict about the swapped comparison."""
        probability = None if self.probability is None else 1.0 - self.probability
        order = Order.BA if self.order is Order.AB else Order.AB
        return replace(self, order=order, answer=self.answer.swap(), probability=probability)
