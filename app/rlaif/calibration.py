"""How far a judge can be trusted as an instrument: position, length, coverage, and agreement with another judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.rlaif.beliefs import beliefs_of, kept_side, lean, mean, order_means
from app.rlaif.comparison import Answer, InvalidReason, Order, Verdict
from app.rlaif.evidence import JudgeMetrics


@dataclass(frozen=True, slots=True)
class JudgedComparison:
    """What one judge answered to one comparison, and the lengths of the two completions in tokens.

    `invalid` says why each INVALID verdict is missing, in any order.
    """

    verdicts: tuple[Verdict, ...]
    invalid: tuple[InvalidReason, ...]
    first_tokens: int
    second_tokens: int


def judge_metrics(judged: Sequence[JudgedComparison]) -> JudgeMetrics:
    """How one judge behaved: coverage, position consistency, and the pulls of position and length.

    A judge leans to the side of its mean probability over both orders. Without a verdict coverage is 1. Where several
    were asked, each keeps to its side or not by itself, as in a calibration; leans are those of their equal votes.
    """
    asked = sum(len(comparison.verdicts) for comparison in judged)
    invalid = Counter(reason for comparison in judged for reason in comparison.invalid)
    both = [(each, means) for each in judged if len(means := order_means(each.verdicts)) == len(Order)]
    leans = [(lean(means[Order.AB]), lean(means[Order.BA])) for _, means in both]
    kept = [share for each in judged if (share := kept_side(beliefs_of(each.verdicts))) is not None]
    return JudgeMetrics(
        verdicts=asked,
        coverage=(asked - invalid.total()) / asked if asked else 1.0,
        invalid=dict(invalid),
        position_consistency=mean(kept) if kept else None,
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


def disagreement(first: Mapping[str, float], second: Mapping[str, float]) -> float | None:
    """The share of comparisons in which two judges prefer opposite sides, where both prefer one; None without any.

    The mappings hold P(first is better) by comparison id; what only one judge decided is left out.
    """
    decided = [
        (first[key] > 0.5) != (second[key] > 0.5)
        for key in first.keys() & second.keys()
        if first[key] != 0.5 and second[key] != 0.5
    ]
    return sum(decided) / len(decided) if decided else None


def _first_preference(leans: Sequence[tuple[Answer, Answer]]) -> float | None:
    """(picked the first shown both times - picked the second shown both times) / n: 0 without position bias."""
    if not leans:
        return None
    return (leans.count((Answer.A, Answer.B)) - leans.count((Answer.B, Answer.A))) / len(leans)
