"""How far a judge can be trusted as an instrument: position, length, coverage, and agreement with another judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.rlaif.comparison import Answer, InvalidReason, Order, Verdict
from app.rlaif.evidence import JudgeMetrics
from app.rlaif.preferences import lean, mean, order_means


@dataclass(frozen=True, slots=True)
class JudgedComparison:
    """What one judge answered to one comparison, and the lengths of the two completions in tokens.

    `invalid` says why each INVALID verdict is missing, in any order.
    """

    verdicts: tuple[Verdict, ...]
    invalid: tuple[InvalidReason, ...]
    first_tokens: int
    second_tokens: int


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
        """The share in which the two prefer opposite sides, where both prefer one."""
        return None if self.accuracy is None else 1.0 - self.accuracy


def judge_metrics(judged: Sequence[JudgedComparison]) -> JudgeMetrics:
    """How one judge behaved: coverage, position consistency, and the pulls of position and length.

    A judge leans to the side of its mean probability over both orders. Without a verdict coverage is 1.
    """
    asked = sum(len(comparison.verdicts) for comparison in judged)
    invalid = Counter(reason for comparison in judged for reason in comparison.invalid)
    both = [(each, means) for each in judged if len(means := order_means(each.verdicts)) == len(Order)]
    leans = [(lean(means[Order.AB]), lean(means[Order.BA])) for _, means in both]
    return JudgeMetrics(
        verdicts=asked,
        coverage=(asked - invalid.total()) / asked if asked else 1.0,
        invalid=dict(invalid),
        position_consistency=_same(leans),
        first_position_preference=_first_preference(leans),
        prefer_longer_share=prefer_longer_share(
            [(mean(means.values()), each.first_tokens, each.second_tokens) for each, means in both]
        ),
    )


def prefer_longer_share(pairs: Iterable[tuple[float, int, int]]) -> float | None:
    """How often the longer is preferred, from (P(first is better), length of first, length of second).

    Pairs of one length and ties say nothing of it; None when no other is left.
    """
    decided = [
        (probability > 0.5) == (first > second)
        for probability, first, second in pairs
        if first != second and probability != 0.5
    ]
    return sum(decided) / len(decided) if decided else None


def agreement(first: Mapping[str, Answer], second: Mapping[str, Answer]) -> Agreement:
    """Agreement of two judges' answers by comparison id, in own numbering. INVALID is missing and never disagrees."""
    valid = [
        (first[key], second[key])
        for key in sorted(first.keys() & second.keys())
        if Answer.INVALID not in (first[key], second[key])
    ]
    decided = [pair for pair in valid if Answer.TIE not in pair]
    return Agreement(len(valid), _same(decided), _same(valid), _kappa(valid))


def _first_preference(leans: Sequence[tuple[Answer, Answer]]) -> float | None:
    """(picked the first shown both times - picked the second shown both times) / n: 0 without position bias."""
    if not leans:
        return None
    return (leans.count((Answer.A, Answer.B)) - leans.count((Answer.B, Answer.A))) / len(leans)


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
