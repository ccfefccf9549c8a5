"""How far people agree among themselves: no judge can be measured to agree with them more than that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from app.rlaif.agreement import AnsweredTwice, Ratings, accuracy, cohens_kappa, krippendorff_alpha, measured
from app.rlaif.annotation import GivenAnswer, settled
from app.rlaif.calibration_evidence import Labels
from app.rlaif.labelled import Labelled
from app.rlaif.resampling import Resampler


@dataclass(frozen=True, slots=True)
class Divided:
    """A comparison that people's answers do not settle: nothing is measured against it, but it is no agreement."""

    prompt_id: str
    people: tuple[GivenAnswer, ...]


def labels_of(labelled: Sequence[Labelled], divided: Sequence[Divided], *, resampler: Resampler) -> Labels:
    """Counts, and people's agreement where two or more answered the same comparison, whether that settled it or not."""
    answered = [(each.prompt_id, _annotators(each.people)) for each in labelled]
    answered += [(each.prompt_id, _annotators(each.people)) for each in divided]
    several = [(prompt, people) for prompt, people in answered if len(people) > 1]
    return Labels(
        comparisons=len(labelled),
        prompts=len({each.prompt_id for each in labelled}),
        ties=sum(each.outcome == 0.5 for each in labelled),
        unsettled=len(divided),
        several=len(several),
        alpha=measured(krippendorff_alpha, _ratings(several), resampler),
        kappa=measured(cohens_kappa, _pairs(several), resampler),
        one_against_others=measured(accuracy, _one_against_others(several), resampler),
    )


def _annotators(people: Iterable[GivenAnswer]) -> list[GivenAnswer]:
    """By name; an adjudicator has seen the others' answers and is none of them."""
    return sorted((given for given in people if not given.adjudication), key=lambda given: given.annotator)


def _ratings(several: Iterable[tuple[str, Sequence[GivenAnswer]]]) -> Iterator[Ratings]:
    for prompt, people in several:
        yield Ratings(prompt, tuple(given.answer for given in people))


def _pairs(several: Iterable[tuple[str, Sequence[GivenAnswer]]]) -> Iterator[AnsweredTwice]:
    for prompt, people in several:
        for one, other in combinations(people, 2):
            yield AnsweredTwice(prompt, one.answer, other.answer)


def _one_against_others(several: Iterable[tuple[str, Sequence[GivenAnswer]]]) -> Iterator[AnsweredTwice]:
    for prompt, people in several:
        for place, one in enumerate(people):
            others = settled([*people[:place], *people[place + 1 :]])
            if others is not None:
                yield AnsweredTwice(prompt, others, one.answer)
