"""How far a judge can be trusted as an instrument: position, length, coverage, and agreement with another judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.rlaif.comparison import Answer, InvalidReason, Order, Verdict
from app.rlaif.preferences import lean, order_means


@dataclass(frozen=True, slots=True)
class PositionBias:
    """Over the comparisons that one judge answered in both orders; the shares are None where there are none.

    `consistency` is the share in which both orders lean to the same completion; `first_preference` is (picked the
    first shown both times - picked the second shown both times) / n, in [-1, 1], 0 without bias.
    """

    comparisons: int
    consistency: float | None
    first_preference: float | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of a judge's verdicts are valid, and why the others are missing."""

    asked: int
    valid: int
    invalid: dict[InvalidReason, int]

    @property
    def share(self) -> float:
        """Valid over asked; 1 where nothing was asked."""
        return self.valid / self.asked if self.asked else 1.0


@dataclass(frozen=True, slots=True)
class LengthBias:
    """How often the longer completion is preferred, over pairs with unlike lengths and no tie; None without any."""

    comparisons: int
    prefers_longer: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two judges agree over the comparisons that both decided; None where that is undefined.

    `accuracy` counts where neither says tie; `three_way` counts ties as an answer; `kappa` is Cohen's over all three,
    undefined where chance alone would agree always.
    """

    comparisons: int
    accuracy: float | None
    three_way: float | None
    kappa: float | None

    @property
    def disagreement(self) -> float | None:
        """The share in which the two give different answers."""
        return None if self.three_way is None else 1.0 - self.three_way


def position_bias(comparisons: Iterable[Sequence[Verdict]]) -> PositionBias:
    """Position bias of one judge from its verdicts, grouped by comparison."""
    both = [means for verdicts in comparisons if len(means := order_means(verdicts)) == len(Order)]
    if not both:
        return PositionBias(0, None, None)
    leans = [(lean(means[Order.AB]), lean(means[Order.BA])) for means in both]
    consistent = sum(1 for ab, ba in leans if ab is ba)
    first = sum(1 for pair in leans if pair == (Answer.A, Answer.B))
    second = sum(1 for pair in leans if pair == (Answer.B, Answer.A))
    return PositionBias(len(both), consistent / len(both), (first - second) / len(both))


def coverage(reasons: Iterable[InvalidReason | None]) -> Coverage:
    """Coverage from one entry a verdict: None for a valid one, else why it is missing."""
    counts = Counter(reasons)
    valid = counts.pop(None, 0)
    missing = {reason: counts[reason] for reason in InvalidReason if counts[reason]}
    return Coverage(valid + sum(missing.values()), valid, missing)


def length_bias(pairs: Iterable[tuple[float, int, int]]) -> LengthBias:
    """How often the longer wins, from (P(first is better), length of first, length of second)."""
    decided = [
        (probability > 0.5) == (first > second)
        for probability, first, second in pairs
        if first != second and probability != 0.5
    ]
    return LengthBias(len(decided), sum(decided) / len(decided) if decided else None)


def agreement(first: Mapping[str, Answer], second: Mapping[str, Answer]) -> Agreement:
    """Agreement of two judges' answers by comparison id, in own numbering. INVALID is missing and never disagrees."""
    valid = [
        (first[key], second[key])
        for key in sorted(first.keys() & second.keys())
        if Answer.INVALID not in (first[key], second[key])
    ]
    decided = [pair for pair in valid if Answer.TIE not in pair]
    return Agreement(len(valid), _same(decided), _same(valid), _kappa(valid))


def _same(pairs: Sequence[tuple[Answer, Answer]]) -> float | None:
    return sum(1 for one, other in pairs if one is other) / len(pairs) if pairs else None


def _kappa(pairs: Sequence[tuple[Answer, Answer]]) -> float | None:
    """Cohen's kappa (Educ. Psychol. Meas. 20, 1960)."""
    observed = _same(pairs)
    if observed is None:
        return None
    one, other = Counter(pair[0] for pair in pairs), Counter(pair[1] for pair in pairs)
    chance = sum(one[answer] * other[answer] for answer in one) / len(pairs) ** 2
    return None if chance == 1.0 else (observed - chance) / (1.0 - chance)
