"""What pulls a judge away from people: position, length, its own family, and what it does not answer."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from app.rlaif.beliefs import lean, order_means
from app.rlaif.calibration_figures import Against
from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.labelled import Asked, Labelled, longer_first
from app.rlaif.logistic import Floats
from app.rlaif.measured import Measured


def position_consistency(against: Against, judge_id: str) -> Measured | None:
    """The share of comparisons whose two orders lean the same way, of those answered in both."""
    leans = [_leans(each.by(judge_id)) for each in against.labelled]
    return against.mean([np.nan if both is None else float(both[0] is both[1]) for both in leans])


def first_position_preference(against: Against, judge_id: str) -> Measured | None:
    """(picked what was shown first both times - what was shown second both times) / n: 0 without position bias."""
    leans = [_leans(each.by(judge_id)) for each in against.labelled]
    signs = {(Answer.A, Answer.B): 1.0, (Answer.B, Answer.A): -1.0}
    return against.mean([np.nan if both is None else signs.get(both, 0.0) for both in leans])


def length_bias(against: Against, probabilities: Floats) -> Measured | None:
    """How much more often the judge prefers the longer one than people do, where both prefer a side."""
    return against.mean([_longer(each, p) for each, p in zip(against.labelled, probabilities.tolist(), strict=True)])


def self_preference(against: Against, probabilities: Floats, family: str) -> Measured | None:
    """P(picks its own family's, people say other) - P(picks the other, people say its own family's).

    Over comparisons with exactly one completion by the family; None where there is none.
    """
    return against.mean(
        [_own(each, p, family) for each, p in zip(against.labelled, probabilities.tolist(), strict=True)]
    )


def invalid_rates(against: Against, judge_id: str) -> dict[InvalidReason, Measured]:
    """Of all answers that were asked for, the share missing for each reason that occurred."""
    counts = [Counter(asked.invalid for asked in each.by(judge_id)) for each in against.labelled]
    reasons = sorted({reason for count in counts for reason in count if reason is not None})
    rates = {reason: _rate(against, [count[reason] for count in counts], counts) for reason in reasons}
    return {reason: rate for reason, rate in rates.items() if rate is not None}


def invalid_by_cohort(against: Against, judge_id: str) -> dict[str, Measured]:
    """Of the answers that were asked for in each cohort, the share that is missing for whatever reason."""
    cohorts: dict[str, list[Labelled]] = defaultdict(list)
    for each in against.labelled:
        cohorts[each.cohort].append(each)
    rates = {name: _missing(Against(labelled, against.resampler), judge_id) for name, labelled in cohorts.items()}
    return {name: rate for name, rate in sorted(rates.items()) if rate is not None}


def _missing(against: Against, judge_id: str) -> Measured | None:
    counts = [Counter(asked.invalid for asked in each.by(judge_id)) for each in against.labelled]
    return _rate(against, [count.total() - count[None] for count in counts], counts)


def _rate(
    against: Against, missing: Sequence[int], counts: Sequence[Mapping[InvalidReason | None, int]]
) -> Measured | None:
    asked = np.array([sum(count.values()) for count in counts], dtype=np.float64)
    columns = np.stack([np.array(missing, dtype=np.float64), asked], axis=1)
    return against.resampler.ratio_of(against.prompts, columns, _share, n=int(asked.sum()))


def _share(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / np.maximum(sums[..., 1], 1.0))


def _leans(asked: Sequence[Asked]) -> tuple[Answer, Answer] | None:
    means = order_means(each.verdict for each in asked)
    return (lean(means[Order.AB]), lean(means[Order.BA])) if len(means) == len(Order) else None


def _longer(each: Labelled, probability: float) -> float:
    """1 where only the judge prefers the longer, -1 where only people do, 0 where they agree on it."""
    longer = longer_first(each)
    if np.isnan(probability) or 0.5 in (probability, each.outcome, longer):
        return np.nan
    sign = 1.0 if longer == 1.0 else -1.0
    return sign * (float(probability > 0.5) - float(each.outcome > 0.5))


def _own(each: Labelled, probability: float, family: str) -> float:
    first, second = (author == family for author in each.authors)
    if first is second or None in each.authors or np.isnan(probability) or 0.5 in (probability, each.outcome):
        return np.nan
    sign = 1.0 if first else -1.0
    return sign * (float(probability > 0.5) - float(each.outcome > 0.5))
