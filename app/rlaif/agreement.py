"""How far two annotators, people or judges, say the same: raw agreement and agreement beyond chance.

INVALID is missing: it is left out here and counted as coverage elsewhere. Intervals resample prompts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from app.rlaif.comparison import Answer
from app.rlaif.logistic import Floats
from app.rlaif.measured import Measured
from app.rlaif.resampling import Resampler
from app.rlaif.statistics import NothingToEstimate, clustered_mean

_SIDES = (Answer.A, Answer.B)
_VALID = (Answer.A, Answer.B, Answer.TIE)


@dataclass(frozen=True, slots=True)
class AnsweredTwice:
    """One comparison, answered by people and by a judge, or by two annotators."""

    prompt_id: str
    reference: Answer
    given: Answer


@dataclass(frozen=True, slots=True)
class Ratings:
    """All annotators' answers to one comparison, one each; whoever did not answer is absent or INVALID."""

    prompt_id: str
    answers: tuple[Answer, ...]


Item = TypeVar("Item", AnsweredTwice, Ratings, contravariant=True)


class Measure(Protocol[Item]):
    """One of the agreements below."""

    def __call__(self, items: Iterable[Item], /, *, rng: np.random.Generator, samples: int) -> Measured: ...


def measured(measure: Measure[Item], items: Iterable[Item], resampler: Resampler) -> Measured | None:
    """None where there is nothing to measure, or all answers are the same one and agreement has no value."""
    try:
        return measure(items, rng=resampler.rng(), samples=resampler.samples)
    except NothingToEstimate:
        return None


def accuracy(pairs: Iterable[AnsweredTwice], *, rng: np.random.Generator, samples: int = 2000) -> Measured:
    """The share given as in the reference where that takes a side; a tie given counts half.

    Chance is 0.5. Raises NothingToEstimate.
    """
    decided = [each for each in pairs if each.reference in _SIDES and each.given in _VALID]
    right = [0.5 if each.given is Answer.TIE else float(each.given is each.reference) for each in decided]
    return _mean(decided, right, rng, samples)


def three_way_accuracy(pairs: Iterable[AnsweredTwice], *, rng: np.random.Generator, samples: int = 2000) -> Measured:
    """The share given exactly as in the reference, ties being an answer like A and B. Raises NothingToEstimate."""
    valid = [each for each in pairs if each.reference in _VALID and each.given in _VALID]
    return _mean(valid, [float(each.given is each.reference) for each in valid], rng, samples)


def cohens_kappa(pairs: Iterable[AnsweredTwice], *, rng: np.random.Generator, samples: int = 2000) -> Measured:
    """(observed - expected) / (1 - expected) agreement over A, B and TIE (Cohen, 1960).

    Raises NothingToEstimate, also when all answers are the same one, where kappa has no value.
    """
    valid = [each for each in pairs if each.reference in _VALID and each.given in _VALID]
    tables = [_crossed([(each.reference, each.given)]) for each in valid]
    return _of_tables(_kappa, [each.prompt_id for each in valid], tables, rng, samples)


def krippendorff_alpha(units: Iterable[Ratings], *, rng: np.random.Generator, samples: int = 2000) -> Measured:
    """1 - observed / expected disagreement, nominal, for any number of annotators and with answers missing.

    By coincidences, as in Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), sections C and D. A
    comparison with fewer than two answers says nothing of agreement and is left out. Raises NothingToEstimate, also
    when all answers are the same one.
    """
    valid = [(unit.prompt_id, [answer for answer in unit.answers if answer in _VALID]) for unit in units]
    paired = [(prompt, answers) for prompt, answers in valid if len(answers) > 1]
    return _of_tables(
        _alpha, [prompt for prompt, _ in paired], [_coincidences(answers) for _, answers in paired], rng, samples
    )


def majority(answers: Iterable[Answer]) -> Answer | None:
    """The answer that more than half of the valid ones are; None when there is no such answer."""
    valid = [answer for answer in answers if answer in _VALID]
    if not valid:
        return None
    answer, count = Counter(valid).most_common(1)[0]
    return answer if 2 * count > len(valid) else None


def _mean(pairs: Sequence[AnsweredTwice], values: Sequence[float], rng: np.random.Generator, samples: int) -> Measured:
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for each, value in zip(pairs, values, strict=True):
        by_prompt[each.prompt_id].append(value)
    estimate = clustered_mean(by_prompt, rng=rng, samples=samples)
    return _about(estimate.value, estimate.low, estimate.high, len(pairs))


def _of_tables(
    statistic: Callable[[Floats], Floats],
    prompt_ids: Sequence[str],
    tables: Sequence[Floats],
    rng: np.random.Generator,
    samples: int,
) -> Measured:
    """A statistic of the comparisons' summed tables, with the percentile interval over resampled prompts.

    Resamples in which it has no value are left out of the interval.
    """
    sums: dict[str, Floats] = defaultdict(lambda: np.zeros((len(_VALID), len(_VALID))))
    for prompt_id, table in zip(prompt_ids, tables, strict=True):
        sums[prompt_id] += table
    if not sums:
        raise NothingToEstimate("no comparison has two valid answers: import or collect labels for the same ones")
    stacked = np.array([sums[prompt] for prompt in sorted(sums)])
    value = float(statistic(stacked.sum(axis=0)))
    if np.isnan(value):
        raise NothingToEstimate("all answers are the same, so agreement beyond chance has no value")
    times = rng.multinomial(len(stacked), np.full(len(stacked), 1 / len(stacked)), size=samples)
    low, high = np.nanquantile(statistic(np.tensordot(times, stacked, axes=1)), [0.025, 0.975]).tolist()
    return _about(value, low, high, len(tables))


def _about(value: float, low: float, high: float, n: int) -> Measured:
    """A percentile interval of few prompts may lie beside the value, and then is stretched to it."""
    return Measured(value=value, low=min(low, value), high=max(high, value), n=n)


def _crossed(pairs: Iterable[tuple[Answer, Answer]]) -> Floats:
    table = np.zeros((len(_VALID), len(_VALID)))
    for one, other in pairs:
        table[_VALID.index(one), _VALID.index(other)] += 1
    return table


def _coincidences(answers: Sequence[Answer]) -> Floats:
    """Ordered pairs of different annotators' answers, each weighing 1 / (annotators - 1)."""
    counts = np.array([answers.count(answer) for answer in _VALID], dtype=np.float64)
    return np.asarray((np.outer(counts, counts) - np.diag(counts)) / (len(answers) - 1))


def _kappa(tables: Floats) -> Floats:
    """Of (..., 3, 3) contingency tables; NaN where one answer is all there is."""
    n = tables.sum(axis=(-2, -1))
    observed = np.trace(tables, axis1=-2, axis2=-1) / n
    expected = (tables.sum(axis=-1) * tables.sum(axis=-2)).sum(axis=-1) / n**2
    return _ratio(observed - expected, 1 - expected)


def _alpha(tables: Floats) -> Floats:
    """Of (..., 3, 3) coincidence tables; NaN where one answer is all there is."""
    totals = tables.sum(axis=-1)
    n = totals.sum(axis=-1)
    observed = n - np.trace(tables, axis1=-2, axis2=-1)
    expected = (n**2 - (totals**2).sum(axis=-1)) / (n - 1)
    return 1 - _ratio(observed, expected)


def _ratio(over: Floats, under: Floats) -> Floats:
    """over / under, NaN where `under` is 0 but for rounding."""
    something = np.abs(under) > 1e-12
    return np.where(something, over / np.where(something, under, 1.0), np.nan)
