"""Which comparisons people are asked about: where the judges say least, or disagree, or contradict themselves.

Routed mixes of people and judges beat either alone (HyPER); mixing without choosing gained nothing (RLAIF, appendix K).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.rlaif.beliefs import lean, mean
from app.rlaif.comparison import Answer
from app.rlaif.seeds import derive_seed


class RoutingReason(StrEnum):
    """Why a comparison is put to people."""

    AWAITS_PEOPLE = "awaits_people"
    LOW_MARGIN = "low_margin"
    DISAGREEMENT = "disagreement"
    INCONSISTENT = "inconsistent"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class JudgedComparison:
    """What judges said of a comparison: by judge id, P(first is better) in each order in which it answered.

    `awaits_people` says whether a cascade has put it aside, since none of its judges was sure enough.
    """

    comparison_id: str
    orders: Mapping[str, Sequence[float]]
    awaits_people: bool = False

    def beliefs(self) -> dict[str, float]:
        """By judge, of those that answered in both orders."""
        return {judge: mean(given) for judge, given in self.orders.items() if len(given) == 2}


@dataclass(frozen=True, slots=True)
class Share:
    """How much of what is routed has one reason; shares are relative to their sum."""

    reason: RoutingReason
    weight: float


@dataclass(frozen=True, slots=True)
class Routed:
    """A comparison chosen for people; `priority` in [0, 1], the most urgent first."""

    comparison_id: str
    reason: RoutingReason
    priority: float


def route(judged: Iterable[JudgedComparison], shares: Sequence[Share], *, limit: int, seed: int) -> list[Routed]:
    """At most `limit` comparisons, each once: of each reason its share, the highest priority first.

    A share that finds too few comparisons stays short: the rest is not filled with what nobody asked for. Which of
    two equal priorities comes first is decided by the seed, so the order of the input changes nothing.
    """
    pool = list(judged)
    taken = set[str]()
    chosen: list[Routed] = []
    for share, places in zip(shares, _places(shares, limit), strict=True):
        found = (
            Routed(each.comparison_id, share.reason, score)
            for each in pool
            if each.comparison_id not in taken and (score := priority(each, share.reason, seed=seed)) is not None
        )
        best = sorted(found, key=lambda one: (-one.priority, derive_seed(seed, "tie", one.comparison_id)))[:places]
        taken.update(one.comparison_id for one in best)
        chosen += best
    return chosen


def priority(judged: JudgedComparison, reason: RoutingReason, *, seed: int) -> float | None:
    """How much a comparison has of a reason, in [0, 1]; None where it has none of it."""
    match reason:
        case RoutingReason.AWAITS_PEOPLE:
            return (_closeness(judged) or 0.0) if judged.awaits_people else None
        case RoutingReason.LOW_MARGIN:
            return _closeness(judged)
        case RoutingReason.DISAGREEMENT:
            return _disagreement(judged)
        case RoutingReason.INCONSISTENT:
            return _inconsistency(judged)
        case RoutingReason.RANDOM:
            return derive_seed(seed, "random", judged.comparison_id) / 2**63


def _closeness(judged: JudgedComparison) -> float | None:
    beliefs = judged.beliefs().values()
    return 1 - abs(2 * mean(beliefs) - 1) if beliefs else None


def _disagreement(judged: JudgedComparison) -> float | None:
    """How far apart the judges are, where one leans one way and another the other."""
    beliefs = judged.beliefs().values()
    sides = {lean(belief) for belief in beliefs} - {Answer.TIE}
    return max(beliefs) - min(beliefs) if len(sides) == 2 else None


def _inconsistency(judged: JudgedComparison) -> float | None:
    """How far one judge's two orders are apart, where they lean different ways; of the judge that is worst."""
    both = [given for given in judged.orders.values() if len(given) == 2]
    return max((abs(a - b) for a, b in both if {lean(a), lean(b)} == {Answer.A, Answer.B}), default=None)


def _places(shares: Sequence[Share], limit: int) -> list[int]:
    """The limit in whole places by largest remainder."""
    total = sum(share.weight for share in shares)
    exact = [limit * share.weight / total for share in shares]
    places = [int(part) for part in exact]
    by_remainder = sorted(range(len(shares)), key=lambda index: (places[index] - exact[index], index))
    for index in by_remainder[: limit - sum(places)]:
        places[index] += 1
    return places
