"""The reasons to look at the pairs again before training on them. Thresholds are stated here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

from app.rlaif.pair_figures import CohortBalance, PairQuality, PairWarning
from app.rlaif.preferences import DropReason

FEW_PAIRS = 100
MANY_DUPLICATES = 0.01
MANY_IDENTICAL = 0.05
MANY_INCONSISTENT = 0.3
MANY_TIES = 0.3
LENGTH_DECIDES = 0.7
MANY_SEPARABLE = 0.3
ONE_SIDED = 0.8
ENOUGH_TO_TELL = 30


def warnings(figures: PairQuality) -> Iterator[PairWarning]:
    """What is wrong, and what to do about it."""
    yield from _of_amount(figures)
    yield from _of_repetition(figures)
    yield from _of_belief(figures)
    yield from _of_short_cuts(figures)
    for name, cohort in figures.cohorts.items():
        yield from _of_cohort(name, cohort)


def _of_amount(figures: PairQuality) -> Iterator[PairWarning]:
    if figures.kept < FEW_PAIRS:
        yield PairWarning(
            code="few_pairs",
            detail=f"{figures.kept} of {figures.pairs} pairs are left to train on.",
            remedy="Add prompts, sample more completions a prompt, or see in `dropped` what was lost.",
        )


def _of_repetition(figures: PairQuality) -> Iterator[PairWarning]:
    duplicates = figures.duplicates
    if duplicates.pairs > MANY_DUPLICATES * figures.pairs:
        yield PairWarning(
            code="duplicate_pairs",
            detail=f"{duplicates.pairs} of {figures.pairs} pairs repeat another, and {duplicates.prompts} prompts "
            "repeat the text of another: they count double in training.",
            remedy="Remove repeated prompts from the prompt set.",
        )
    identical = sum(
        figures.dropped.get(reason, 0) for reason in (DropReason.IDENTICAL, DropReason.IDENTICAL_AFTER_TRUNCATION)
    )
    if identical > MANY_IDENTICAL * figures.pairs:
        yield PairWarning(
            code="identical_pairs",
            detail=f"{identical} of {figures.pairs} pairs are two equal texts, "
            f"{figures.dropped.get(DropReason.IDENTICAL_AFTER_TRUNCATION, 0)} of them only once cut at max_length.",
            remedy="Sample at a higher temperature; where they are equal once cut, raise prefer.max_length.",
        )


def _of_belief(figures: PairQuality) -> Iterator[PairWarning]:
    if (figures.inconsistent or 0.0) > MANY_INCONSISTENT:
        yield PairWarning(
            code="inconsistent_pairs",
            detail=f"On {figures.inconsistent:.1%} of the pairs the judge contradicts itself when the order changes.",
            remedy="Take a stronger judge or a panel, or sharpen the rubric's criteria.",
        )
    if (figures.ties or 0.0) > MANY_TIES:
        yield PairWarning(
            code="many_ties",
            detail=f"{figures.ties:.1%} of the pairs to train on are ties, which teach next to nothing.",
            remedy="Sample more varied completions, sharpen the rubric, or set prefer.minimum_margin.",
        )


def _of_short_cuts(figures: PairQuality) -> Iterator[PairWarning]:
    length, surface = figures.length, figures.surface
    decided = sum(cohort.first + cohort.second for cohort in figures.cohorts.values())
    if length is not None and decided >= ENOUGH_TO_TELL and max(length.auc, 1 - length.auc) > LENGTH_DECIDES:
        side = "longer" if length.auc > 0.5 else "shorter"
        yield PairWarning(
            code="length_decides",
            detail=f"Length alone tells the preferred completion (AUC {length.auc:.2f}): the {side} one wins, by "
            f"{abs(length.mean_difference):.0f} characters in the mean.",
            remedy="Unless the rubric asks for it, say in a criterion that length is no merit, or change the judge.",
        )
    if surface is not None and surface.separable > MANY_SEPARABLE:
        yield PairWarning(
            code="trivially_separable",
            detail=f"{surface.separable:.1%} of the pairs are decided by their surface alone: "
            f"{', '.join(surface.strongest)}. A reward model will learn that instead of the rubric.",
            remedy="Sample both completions from the same model at the same settings, and drop refusals or cut texts.",
        )


def _of_cohort(name: str, cohort: CohortBalance) -> Iterator[PairWarning]:
    if cohort.pairs and not cohort.kept:
        yield PairWarning(
            code="cohort_without_pairs",
            detail=f"None of the {cohort.pairs} pairs of cohort {name!r} is trained on.",
            remedy="See in `dropped` why, and mend that or expect nothing of this cohort.",
        )
    decided = cohort.first + cohort.second
    if decided >= ENOUGH_TO_TELL and max(cohort.first, cohort.second) > ONE_SIDED * decided:
        side, count = ("first", cohort.first) if cohort.first > cohort.second else ("second", cohort.second)
        yield PairWarning(
            code="one_sided",
            detail=f"In cohort {name!r} the {side} completion is preferred in {count} of {decided} pairs.",
            remedy="Where pairs were imported, check that the better one does not always stand in one place for a "
            "reason; where they were judged, look at the judge's first_position_preference.",
        )
