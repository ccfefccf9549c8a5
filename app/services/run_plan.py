"""What a run is to be made of, and the error for one that does not fit together."""

from __future__ import annotations

from dataclasses import dataclass

from app.db.models import Judge, Model, PromptSet, RubricRevision
from app.errors import InvalidInput
from app.rlaif.recipe import Recipe, StageKind


class RunRefused(InvalidInput):
    """Raised when the parts of a run do not fit together or do not fit its recipe."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run is made of."""

    recipe: Recipe
    rubric: RubricRevision | None
    prompt_set: PromptSet
    base_model: Model | None
    judge: Judge | None
    evaluation_judge: Judge | None

    @property
    def judges(self) -> bool:
        return StageKind.JUDGE in self.recipe.stages()

    @property
    def teaches(self) -> bool:
        """Whether its judge has a say in what is trained: by verdicts, or by rewards of the policy's own answers."""
        return self.judges or self.recipe.rewards_by_judge()

    @property
    def evaluates(self) -> bool:
        return StageKind.EVALUATE in self.recipe.stages()
