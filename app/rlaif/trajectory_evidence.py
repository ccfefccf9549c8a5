"""What a trajectory evaluation measured, in the shape in which it is stored and shown."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.evaluator import EvaluatorName, Points
from app.rlaif.measured import Measured

Count = Annotated[int, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]


class _Evidence(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PassHat(_Evidence):
    """The chance that k trials of a task all succeed; `value.n` counts tasks, one author's trials of one prompt."""

    k: Annotated[int, Field(ge=1)]
    value: Measured
    left_out: Count = Field(description="Tasks with fewer than k trials")


class Success(_Evidence):
    """The share of trajectories that succeeded. Its interval resamples prompts."""

    rate: Measured | None = Field(description="Null where none is judged")
    trajectories: Count
    prompts: Count
    missing: Count = Field(description="Trajectories without a valid rating in both presentations: never failures")


class GoldFigures(_Evidence):
    """The judge against the known outcomes, over the trajectories that have both."""

    accuracy: Measured | None
    kappa: Measured | None = Field(description="Cohen's; null where all outcomes are the same")
    false_successes: Count = Field(description="Judged a success, and known not to be one")
    false_failures: Count = Field(description="Judged a failure, and known to be a success")
    judged_pass_hat: list[PassHat]
    known_pass_hat: list[PassHat]


class AuthorSuccess(_Evidence):
    """How often one author's trajectories succeed, and how reliably."""

    author: str | None = Field(description="As the prompts' `authors` name it; null: overall, or not known")
    success: Success
    by_cohort: dict[str, Success]
    pass_hat: list[PassHat]
    gold: GoldFigures | None = Field(description="Null where no prompt brings `outcomes`")


class AuthorDifference(_Evidence):
    """Two authors on the prompts that both were tried on: the mean difference of their shares of successes, a prompt.

    The p-value is of no difference, by the exact sign-flip test over prompts.
    """

    first: str
    second: str
    difference: Measured
    p_value: Probability
    holm_p_value: Probability = Field(description="Adjusted for the number of differences")


class TrajectorySuccess(_Evidence):
    """All trajectories of a prompt set together, each author's by themselves, and every two authors compared."""

    overall: AuthorSuccess
    authors: list[AuthorSuccess]
    differences: list[AuthorDifference]


class TrajectoryMetrics(TrajectorySuccess):
    """With what the outcomes rest on."""

    evaluator: EvaluatorName = Field(description="By whose rubric trajectories are rated")
    version: int = Field(description="Of the built-in rubric; 0 for one of your own")
    rubric_hash: str
    judge_id: str
    threshold: Points = Field(description="The mean of both ratings from which on a trajectory counts as a success")
    coverage: Annotated[float, Field(ge=0, le=1)] = Field(description="Valid ratings / ratings")
