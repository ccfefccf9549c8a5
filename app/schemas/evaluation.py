"""Evaluations as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

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
    allow_same_family: StrictBool = Field(
        False, description="Let a judge of the training judge's family measure; the report will say so"
    )


EXAMPLE_MEASURE: dict[str, JsonValue] = {
    "name": "production against the checkpoint",
    "measured": "checkpoint_01m7xk5mgzeyva4mageqj2tqtk",
    "baseline": "judge_01m7xk5mgzeyva4mageqj2tqtk",
    "prompt_set": "pset_01m7xk5mgzeyva4mageqj2tqtk",
    "rubric": "rubric_01m7xk5mgzeyva4mageqj2tqtk",
    "judge": "judge_01m7xk5mh0f3gs7rhm2jxw8y9q",
    "sample": {"max_new_tokens": 256},
}


class AnswerConfig(BaseModel):
    """How what is measured, and what it is measured against, answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: Annotated[float, Field(strict=True, gt=0, le=2)] = 1.0
    top_p: Annotated[float, Field(strict=True, gt=0, le=1)] = Field(
        0.95, description="Of models; not sent to endpoints"
    )
    max_new_tokens: Annotated[int, Field(strict=True, ge=1, le=32_768)] = 512
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = 64
    prompts_per_shard: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 64


class MeasureIn(BaseModel):
    """Two that answer are to be compared, on any prompt set's held-out prompts; nothing is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [EXAMPLE_MEASURE]})

    name: ResourceName = Field(description="Of the run that measures")
    measured: PartId = Field(description="Id of a model, of a policy checkpoint, or of a judge whose endpoint answers")
    baseline: PartId = Field(description="What it is measured against, named in the same way")
    prompt_set: PartId = Field(description="Its held-out prompts are asked: a standing cohort's draw, for example")
    rubric: PartId = Field(description="A rubric (its newest revision) or a revision")
    judge: PartId = Field(description="Id of the judge that measures; not one that taught or answers")
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    sample: AnswerConfig = AnswerConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    budget: Budget = Field(Budget(), description="What it may cost, endpoints' answers included; reached, it pauses")
    allow_circular_evaluation: StrictBool = Field(
        False, description="Let a judge measure what it taught or wrote; evaluation and report will say so"
    )
    allow_same_family: StrictBool = Field(
        False, description="Let a judge measure that is of the family of one that taught or answers"
    )


class EvaluationOut(BaseModel):
    """The held-out measurement of one that answers against another, by a judge."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["evaluation_01m7xk5mgzeyva4mageqj2tqtk"])
    run_id: str = Field(examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
    round: int = Field(examples=[0])
    candidate: int = Field(description="Which candidate of a sweep the checkpoint is; else 0", examples=[0])
    checkpoint_id: str | None = Field(
        description="Null where an evaluation without training names what it measures",
        examples=["checkpoint_01m7xk5mgzeyva4mageqj2tqtk"],
    )
    measured_id: str | None = Field(description="The model, or the judge whose endpoint answered", examples=[None])
    judge_id: str = Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
    metrics: EvaluationMetrics
    created_at: datetime
