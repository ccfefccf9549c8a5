"""What a sweep asks of a run before anything is spent on it."""

from __future__ import annotations

from app.db.models import PromptSet
from app.errors import InvalidInput
from app.rlaif.recipe import Recipe, StageKind


class SweepRefused(InvalidInput):
    """Raised when a sweep guards a cohort nobody is asked of or selects nothing, or a candidate of none is named."""


def require_selectable(recipe: Recipe, prompt_set: PromptSet, *, trains: bool) -> None:
    """`trains`: whether the run trains its policies, and no other one did. Raises SweepRefused."""
    if (one := recipe.evaluate.candidate) is not None and (trains or recipe.sweep is None):
        why = "the recipe has no sweep" if recipe.sweep is None else "this run trains and compares all of them"
        raise SweepRefused(
            f"recipe.evaluate.candidate is {one}, and {why}: leave it out, or fork from 'evaluate' a run that swept",
            field="recipe.evaluate.candidate",
        )
    if recipe.sweep is not None and StageKind.EVALUATE not in recipe.stages():
        raise SweepRefused(
            f"recipe.stop_after is {recipe.stop_after.value!r}, and a sweep selects by its evaluation: leave either "
            "out",
            field="recipe.stop_after",
        )
    for cohort in (recipe.sweep.capability_cohorts if recipe.sweep else None) or ():
        if cohort not in prompt_set.cohorts:
            raise SweepRefused(
                f"the sweep guards cohort {cohort!r}, and the cohorts of prompt set {prompt_set.id!r} are "
                f"{', '.join(sorted(prompt_set.cohorts))}: name one of these, or leave it out",
                field="recipe.sweep.capability_cohorts",
            )
