"""What a trajectory evaluation rates by, and from how many points on a trajectory counts as a success."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from app.rlaif.evaluator import EvaluatorConfig
from app.rlaif.sections import Section

BUILT_IN = "task_completion"

Threshold = Annotated[float, Field(strict=True, ge=1, le=10)]
THRESHOLD = 7.5
"""Nearer to 10, "all that was asked", than to 5, "a part of it": the anchors of the built-in rubric."""


class TrajectoriesConfig(Section):
    """How trajectories are rated."""

    rubric: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        None, description="Id of a rubric revision; null: the built-in evaluator task_completion"
    )
    threshold: Threshold = THRESHOLD
    bootstrap_samples: Annotated[int, Field(strict=True, ge=100, le=100_000)] = 2000

    def evaluator(self) -> EvaluatorConfig:
        """By whose rubric trajectories are rated."""
        return EvaluatorConfig(name=BUILT_IN, rubric=self.rubric, threshold=self.threshold)
