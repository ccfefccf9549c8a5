"""Whether a judge passes a golden example: the expected answer, in both presentation orders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.rlaif.beliefs import Belief, lean, mean, order_means
from app.rlaif.comparison import Answer, Order, Verdict
from app.rlaif.golden import Expected
from app.rlaif.instruments import EQUAL_VOTES, Instrument


class OutcomeKind(StrEnum):
    """`missing`: an order has no valid answer; `inconsistent`: the answer changes with the order."""

    PASSED = "passed"
    WRONG = "wrong"
    INCONSISTENT = "inconsistent"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Outcome:
    kind: OutcomeKind
    why: str


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over golden examples; `waiting` are those that have not been answered in both orders yet."""

    total: int
    passed: int
    wrong: int
    inconsistent: int
    missing: int
    waiting: int


def answers_by_order(verdicts: Iterable[Verdict], instrument: Instrument) -> dict[Order, Answer]:
    """What was answered in each order that has verdicts: a single verdict counts as it stands, a tie stays a tie.

    Several are read as in a run: by criterion weights, then by the instrument. INVALID where they do not suffice.
    """
    given: dict[Order, list[Verdict]] = {}
    for verdict in verdicts:
        given.setdefault(verdict.order, []).append(verdict)
    return {order: _answer(of_order, instrument) for order, of_order in given.items()}


def _answer(verdicts: list[Verdict], instrument: Instrument) -> Answer:
    """Of verdicts in one order."""
    if len(verdicts) == 1 and instrument is EQUAL_VOTES:
        return verdicts[0].answer
    judges = {verdict.judge_id for verdict in verdicts}
    means = {judge: order_means(each for each in verdicts if each.judge_id == judge) for judge in judges}
    beliefs = {judge: Belief(mean(of_judge.values()), consistent=True) for judge, of_judge in means.items() if of_judge}
    probability = instrument.probability(beliefs)
    return Answer.INVALID if probability is None else lean(probability)


def outcome(expected: Expected, answers: Mapping[Order, Answer]) -> Outcome | None:
    """What the answers of both orders, in the pair's own numbering, make of the example; None until both are there."""
    if len(answers) < len(Order):
        return None
    if invalid := [order.value for order in Order if answers[order] is Answer.INVALID]:
        return Outcome(OutcomeKind.MISSING, f"no valid answer in order {' and '.join(invalid)}")
    one, other = answers[Order.AB], answers[Order.BA]
    if one is not other:
        return Outcome(OutcomeKind.INCONSISTENT, f"{one} in order AB, {other} in order BA: the place decided")
    if one.value != expected.value:
        return Outcome(OutcomeKind.WRONG, f"{one} in both orders, expected {expected}")
    return Outcome(OutcomeKind.PASSED, f"{one} in both orders")


def summary(outcomes: Iterable[Outcome | None]) -> Summary:
    kinds = [each.kind if each else None for each in outcomes]
    return Summary(
        total=len(kinds),
        passed=kinds.count(OutcomeKind.PASSED),
        wrong=kinds.count(OutcomeKind.WRONG),
        inconsistent=kinds.count(OutcomeKind.INCONSISTENT),
        missing=kinds.count(OutcomeKind.MISSING),
        waiting=kinds.count(None),
    )
