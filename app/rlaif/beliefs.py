"""What one judge believes of a comparison once it has answered in both orders.

INVALID is missing, never averaged. One order alone carries the judge's position bias uncancelled, so it is no belief.
Criteria judged one by one make a belief together, by their weights: a part of them is another rubric, and no belief.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from app.rlaif.comparison import Answer, Order, Verdict

Key = TypeVar("Key", bound=str)


@dataclass(frozen=True, slots=True)
class Belief:
    """P(first is better) after both orders; `consistent` says whether both leaned the same way."""

    probability: float
    consistent: bool


def beliefs_of(verdicts: Iterable[Verdict]) -> dict[str, Belief]:
    """By judge id, sorted; a judge without a valid answer in each order has none."""
    beliefs = ((judge, belief_of(given)) for judge, given in _by(verdicts, lambda verdict: verdict.judge_id))
    return {judge: belief for judge, belief in beliefs if belief is not None}


def belief_of(verdicts: Iterable[Verdict]) -> Belief | None:
    """One judge's: the mean over repeats, then criteria by their weights, then orders."""
    means = order_means(verdicts)
    if len(means) < len(Order):
        return None
    return Belief(mean(means.values()), lean(means[Order.AB]) is lean(means[Order.BA]))


def kept_side(beliefs: Mapping[str, Belief]) -> float | None:
    """The share of judges that kept to their side under exchanged order; None where none has a belief."""
    return mean(float(belief.consistent) for belief in beliefs.values()) if beliefs else None


def lean(probability: float) -> Answer:
    """Which side a probability takes; exactly one half is a tie."""
    if probability == 0.5:
        return Answer.TIE
    return Answer.A if probability > 0.5 else Answer.B


def order_means(verdicts: Iterable[Verdict]) -> dict[Order, float]:
    """The mean probability of one judge's valid verdicts in each order that has one for every criterion that was asked
    about. A tie is one half."""
    criteria = [_criterion(given) for _, given in _by(verdicts, lambda verdict: verdict.criterion)]
    orders = (order for order in Order if criteria and all(order in means for _, means in criteria))
    return {order: _weighted([(weight, means[order]) for weight, means in criteria]) for order in orders}


def _criterion(verdicts: Sequence[Verdict]) -> tuple[float, dict[Order, float]]:
    """The criterion's weight, and its mean in each order with a valid verdict."""
    valid = [verdict for verdict in verdicts if verdict.probability is not None]
    means = {order: mean(map(_probability, given)) for order, given in _by(valid, lambda verdict: verdict.order)}
    return verdicts[0].weight, means


def _weighted(values: Sequence[tuple[float, float]]) -> float:
    """The mean of (weight, value); of one value, that very value."""
    if len(values) == 1:
        return values[0][1]
    return math.fsum(weight * value for weight, value in values) / math.fsum(weight for weight, _ in values)


def mean(values: Iterable[float]) -> float:
    """The exactly rounded mean, so that the order of the values does not matter."""
    kept = list(values)
    return math.fsum(kept) / len(kept)


def _probability(verdict: Verdict) -> float:
    return 0.5 if verdict.answer is Answer.TIE or verdict.probability is None else verdict.probability


def _by(verdicts: Iterable[Verdict], key: Callable[[Verdict], Key]) -> Iterator[tuple[Key, list[Verdict]]]:
    return ((value, list(group)) for value, group in groupby(sorted(verdicts, key=key), key=key))
