"""How far the people of a queue agree: all of them, every two, and each with the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

from app.rlaif.agreement import (
    AnsweredTwice,
    Ratings,
    cohens_kappa,
    krippendorff_alpha,
    measured,
    three_way_accuracy,
)
from app.rlaif.annotation import PersonAnswer
from app.rlaif.comparison import Answer
from app.rlaif.measured import Measured
from app.rlaif.resampling import Resampler

MOST_PAIRS = 100
_SAMPLES = 1000


@dataclass(frozen=True, slots=True)
class PersonSaid:
    """One person's answer as agreement is measured on it."""

    item_id: str
    prompt_key: str
    annotator: str
    answer: PersonAnswer


@dataclass(frozen=True, slots=True)
class BetweenTwo:
    """Two annotators on what both answered; None where that says nothing."""

    one: str
    other: str
    raw: Measured | None
    kappa: Measured | None


@dataclass(frozen=True, slots=True)
class AgainstOthers:
    """One annotator beside everybody who answered the same items."""

    annotator: str
    answered: int
    skipped: int
    raw: Measured | None
    kappa: Measured | None


@dataclass(frozen=True, slots=True)
class QueueAgreement:
    """`raw` is the share of pairs of answers to one item that are the same."""

    items: int
    annotators: tuple[AgainstOthers, ...]
    alpha: Measured | None
    raw: Measured | None
    pairs: tuple[BetweenTwo, ...]


def between_annotators(said: Iterable[PersonSaid], *, seed: int) -> QueueAgreement:
    """From every person's answers, at most one an item. Intervals resample prompts; of the pairs of annotators, the
    100 that share most."""
    by_item: dict[str, list[PersonSaid]] = defaultdict(list)
    skipped: Counter[str] = Counter()
    for each in said:
        if each.answer is PersonAnswer.SKIP:
            skipped[each.annotator] += 1
        else:
            by_item[each.item_id].append(each)
    given = [sorted(answers, key=lambda each: each.annotator) for _, answers in sorted(by_item.items())]
    ratings = [Ratings(answers[0].prompt_key, tuple(Answer(each.answer) for each in answers)) for answers in given]
    resampler = Resampler(seed, _SAMPLES)
    every = [_twice(*two) for answers in given for two in combinations(answers, 2)]
    return QueueAgreement(
        items=len(given),
        annotators=_each_against_others(given, skipped, resampler),
        alpha=measured(krippendorff_alpha, ratings, resampler),
        raw=measured(three_way_accuracy, every, resampler),
        pairs=_pairs(given, resampler),
    )


def _each_against_others(
    given: Sequence[Sequence[PersonSaid]], skipped: Mapping[str, int], resampler: Resampler
) -> tuple[AgainstOthers, ...]:
    beside: dict[str, list[AnsweredTwice]] = defaultdict(list)
    answered: Counter[str] = Counter()
    for answers in given:
        answered.update(each.annotator for each in answers)
        for one, other in permutations(answers, 2):
            beside[one.annotator].append(_twice(one, other))
    return tuple(
        AgainstOthers(
            annotator=name,
            answered=answered[name],
            skipped=skipped.get(name, 0),
            raw=measured(three_way_accuracy, beside[name], resampler),
            kappa=measured(cohens_kappa, beside[name], resampler),
        )
        for name in sorted(answered.keys() | skipped.keys())
    )


def _pairs(given: Sequence[Sequence[PersonSaid]], resampler: Resampler) -> tuple[BetweenTwo, ...]:
    shared: dict[tuple[str, str], list[AnsweredTwice]] = defaultdict(list)
    for answers in given:
        for one, other in combinations(answers, 2):
            shared[one.annotator, other.annotator].append(_twice(one, other))
    largest = sorted(shared, key=lambda pair: (-len(shared[pair]), pair))[:MOST_PAIRS]
    return tuple(
        BetweenTwo(
            one=one,
            other=other,
            raw=measured(three_way_accuracy, shared[one, other], resampler),
            kappa=measured(cohens_kappa, shared[one, other], resampler),
        )
        for one, other in largest
    )


def _twice(one: PersonSaid, other: PersonSaid) -> AnsweredTwice:
    return AnsweredTwice(one.prompt_key, Answer(other.answer), Answer(one.answer))
