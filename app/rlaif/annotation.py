"""What people answer, and when their answers settle a comparison."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import StringConstraints

from app.rlaif.agreement import majority
from app.rlaif.comparison import Answer, Order
from app.rlaif.seeds import derive_seed

Annotator = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"
    ),
]


class PersonAnswer(StrEnum):
    """A person's answer. A skip is missing, like a judge's INVALID: never a tie."""

    A = "A"
    B = "B"
    TIE = "TIE"
    SKIP = "skip"

    def in_order(self, order: Order) -> PersonAnswer:
        """From what was shown in this order to the comparison's own numbering; its own inverse."""
        turned = {PersonAnswer.A: PersonAnswer.B, PersonAnswer.B: PersonAnswer.A}
        return self if order is Order.AB else turned.get(self, self)


class SkipReason(StrEnum):
    """Why a person gave no answer."""

    UNCLEAR = "unclear"
    UNQUALIFIED = "unqualified"
    BROKEN = "broken"
    HARMFUL = "harmful"
    OTHER = "other"


class SettleRule(StrEnum):
    """When the annotators agree far enough: more than half of the answers, or all of them. Skips are no answers."""

    MAJORITY = "majority"
    UNANIMOUS = "unanimous"


@dataclass(frozen=True, slots=True)
class GivenAnswer:
    """One person's answer in the comparison's own numbering."""

    annotator: str
    answer: Answer
    adjudication: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """What a person answers, in the order in which it was shown."""

    answer: PersonAnswer
    skip_reason: SkipReason | None
    note: str | None
    seconds: float | None


def presentation_order(item_id: str, annotator: str) -> Order:
    """Which completion this annotator sees first: a coin that always falls the same for this item and annotator."""
    return Order.AB if derive_seed(0, "presentation", item_id, annotator) % 2 == 0 else Order.BA


def agreed(answers: Iterable[Answer], rule: SettleRule) -> Answer | None:
    """The answer that the rule makes of the annotators' answers; None where they disagree or nobody answered."""
    given = list(answers)
    winner = majority(given)
    unanimous = len(set(given)) == 1
    return winner if rule is SettleRule.MAJORITY or unanimous else None


def settled(given: Iterable[GivenAnswer], rule: SettleRule = SettleRule.MAJORITY) -> Answer | None:
    """What people say of a comparison: the adjudicator's answer, or without one what the annotators agree on."""
    answers = list(given)
    last_word = next((each.answer for each in answers if each.adjudication), None)
    return last_word or agreed((each.answer for each in answers), rule)
