"""What a sweep asks of a run before anything is spent on it."""

from __future__ import annotations

from app.db.models import PromptSet
from app.errors import InvalidInput
from app.rlaif.recipe import Recipe


class SweepRefused(InvalidInput):
    """Raised when a sweep guards a cohort that nobody is asked of, or one candidate of none is to be measured."""


def require_selectable(recipe: Recipe, prompt_set: PromptSet, *, trains: bool) -> None:
    """`trains`: whether the run trains its policies, and no other one did. Raises SweepRefused."""
    if (one := recipe.evaluate.candidate) is not None and (trains or recipe.sweep is None):
        why = "the recipe has no sweep" if recipe.sweep is None else "this run trains and compares all of them"
        raise SweepRefused(
            f"recipe.evaluate.candidate is {one}, and {why}: leave it out, or fork from 'evaluate' a run that swept",
            field="recipe.evaluate.candidate",
        )
    for cohort in (recipe.sweep.capability_cohorts if recipe.sweep else None) or ():
        if cohort not in prompt_set.cohorts:
            raise SweepRefused(
                f"the sweep guards cohort {cohort!r}, and the cohorts of prompt set {prompt_set.id!r} are "
                f"{', '.join(sorted(prompt_set.cohorts))}: name one of these, or leave it out",
                field="recipe.sweep.capability_cohorts",
            )
