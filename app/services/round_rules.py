"""What rounds ask of a run's recipe before anything is spent on it."""

from __future__ import annotations

from app.errors import InvalidInput
from app.rlaif.recipe import Recipe, StageKind


class RoundsRefused(InvalidInput):
    """Raised when a recipe has several rounds and a part that only one round can have."""


def require_repeatable(recipe: Recipe) -> None:
    """Each round samples from the last policy, learns from what is judged of that, and is measured.

    Raises RoundsRefused.
    """
    if recipe.rounds is None:
        return
    if recipe.prefer.source == "prompt_set":
        raise RoundsRefused(
            "recipe.prefer.source is 'prompt_set': imported preferences are the same in every round, and nothing would "
            "be learned from the last policy; use 'verdicts', or leave recipe.rounds out",
            field="recipe.prefer.source",
        )
    if recipe.sample.source == "prompt_set":
        raise RoundsRefused(
            "recipe.sample.source is 'prompt_set': imported candidates are the same in every round, and no round would "
            "start from the last policy; use 'model', or leave recipe.rounds out",
            field="recipe.sample.source",
        )
    if recipe.stop_after is not StageKind.EVALUATE:
        raise RoundsRefused(
            f"recipe.stop_after is {recipe.stop_after.value!r}, and whether another round follows is decided by each "
            "round's evaluation; leave recipe.stop_after out, or leave recipe.rounds out",
            field="recipe.stop_after",
        )
