"""Evaluations as clients see them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool

from app.rlaif.evidence import EvaluationMetrics
from app.rlaif.recipe import Budget
from app.rlaif.sections import EvaluateConfig
from app.schemas.names import ResourceName
from app.schemas.run import PartId

EXAMPLE_EVALUATION: dict[str, JsonValue] = {
    "name": "second opinion",
    "judge": "judge_01m7xk5mgzeyva4mageqj2tqtk",
    "evaluate": {"gates": {"minimum_win_rate": 0.5, "maximum_cohort_regression": {"capability": 0.05}}},
}


class EvaluationIn(BaseModel):
    """A checkpoint is to be measured again, on the held-out prompts of the run that trained it."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [EXAMPLE_EVALUATION]})

    name: ResourceName = Field(description="Of the run that measures")
    judge: PartId = Field(description="Id of the judge that measures")
    evaluate: EvaluateConfig = Field(
        EvaluateConfig(), description="What is to differ from the recipe of the run that trained the checkpoint"
    )
    budget: Budget = Field(Budget(), description="What it may cost; reached, its run pauses")
    allow_circular_evaluation: StrictBool = Field(
        False, description="Let a judge that labelled the training data measure; evaluation and report will say so"
    )


class EvaluationOut(BaseModel):
    """The held-out measurement of a policy checkpoint by a judge."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["evaluation_01m7xk5mgzeyva4mageqj2tqtk"])
    run_id: str = Field(examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
    round: int = Field(examples=[0])
    checkpoint_id: str = Field(examples=["checkpoint_01m7xk5mgzeyva4mageqj2tqtk"])
    judge_id: str = Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
    metrics: EvaluationMetrics
    created_at: datetime
