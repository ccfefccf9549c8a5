"""Runs as clients send and see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, StrictBool, StringConstraints, Tag

from app.db.models import Run, RunKind, RunStatus
from app.repositories.runs import RunRow
from app.rlaif.recipe import Budget, Recipe, StageKind
from app.rlaif.usage import Usage, total
from app.schemas.judge import JudgeIn
from app.schemas.model import ModelIn
from app.schemas.names import ResourceName
from app.schemas.prompt_set import PromptSetIn
from app.schemas.rubric import EXAMPLE_CONTENT, RubricIn
from app.schemas.stage import StageOut, usage_of


def _form(value: object) -> str:
    return "inline" if isinstance(value, dict | BaseModel) else "id"


PartId = Annotated[str, StringConstraints(min_length=1, max_length=100)]
ById = Annotated[PartId, Tag("id")]
RubricPart = Annotated[ById | Annotated[RubricIn, Tag("inline")], Discriminator(_form)]
PromptSetPart = Annotated[ById | Annotated[PromptSetIn, Tag("inline")], Discriminator(_form)]
ModelPart = Annotated[ById | Annotated[ModelIn, Tag("inline")], Discriminator(_form)]
JudgePart = Annotated[ById | Annotated[JudgeIn, Tag("inline")], Discriminator(_form)]

EXAMPLE_RUN: dict[str, JsonValue] = {
    "name": "first",
    "rubric": {"name": "support", **EXAMPLE_CONTENT},
    "prompt_set": "pset_01m7xk5mgzeyva4mageqj2tqtk",
    "base_model": {"name": "base", "source": "local:base_model"},
    "judge": {"name": "checks", "spec": {"kind": "checks"}},
    "evaluation_judge": "judge_01m7xk5mgzeyva4mageqj2tqtk",
    "recipe": {"seed": 7, "policy": {"epochs": 1}},
}


class ForkIn(BaseModel):
    """Go on from another run's stage without repeating what came before it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: PartId = Field(description="The run to go on from", examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
    from_stage: StageKind = Field(description="The first stage to execute; those before it are reused")


class RunIn(BaseModel):
    """A new run. Each part is the id of an existing one, or the new part itself.

    A new part whose name is taken is fine when the existing one has the same content: then that one is used.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [EXAMPLE_RUN]})

    name: ResourceName
    rubric: RubricPart | None = Field(None, description="A rubric (its newest revision), a revision, or a new rubric")
    prompt_set: PromptSetPart | None = Field(None, description="Required, unless the run is a fork")
    base_model: ModelPart | None = Field(None, description="Required, unless the run is a fork")
    judge: JudgePart | None = Field(None, description="Labels the training data")
    evaluation_judge: JudgePart | None = Field(None, description="Measures the result; not the judge that trained it")
    recipe: Recipe = Field(
        Recipe(), description="What to do, stage by stage; of a fork, what is to differ from the run it goes on from"
    )
    fork: ForkIn | None = Field(None, description="Parts that are left out are those of the run it goes on from")
    allow_circular_evaluation: StrictBool = Field(
        False, description="Let the training judge measure the result too; evaluation and report will say so"
    )
    allow_same_family: StrictBool = Field(
        False, description="Let a judge of the training judge's family measure; the report will say so"
    )


class ResumeIn(BaseModel):
    """What to change before a paused run goes on."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"budget": {"judge_usd": 25.0}}]}
    )

    budget: Budget | None = Field(None, description="New limits; a limit that is left out stays as it is")


class RunInputsOut(BaseModel):
    """What the run was given."""

    model_config = ConfigDict(frozen=True)

    rubric_revision_id: str | None = Field(examples=["revision_01m7xk5mgzeyva4mageqj2tqtk"])
    prompt_set_id: str = Field(examples=["pset_01m7xk5mgzeyva4mageqj2tqtk"])
    base_model_id: str | None = Field(
        description="Null for a run that trains nothing", examples=["model_01m7xk5mgzeyva4mageqj2tqtk"]
    )
    judge_id: str | None = Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
    evaluation_judge_id: str | None = Field(examples=["judge_01m7xk5mh0f3gs7rhm2jxw8y9q"])
    forked_from_id: str | None = Field(examples=[None])

    @classmethod
    def of(cls, run: Run) -> Self:
        return cls(
            rubric_revision_id=run.rubric_revision_id,
            prompt_set_id=run.prompt_set_id,
            base_model_id=run.base_model_id,
            judge_id=run.judge_id,
            evaluation_judge_id=run.evaluation_judge_id,
            forked_from_id=run.forked_from_id,
        )


class RunSummaryOut(BaseModel):
    """A run in a list."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
    kind: RunKind = Field(
        description="A pipeline trains; calibrations and trials only ask a judge, scorings a reward model"
    )
    name: str = Field(examples=["first"])
    status: RunStatus
    error: dict[str, Any] | None = Field(description="Why it failed: code, detail, stage", examples=[None])
    pause_reason: str | None = Field(examples=[None])
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class RunOut(RunSummaryOut):
    """One execution of a recipe: how far each stage is, how fast, at what cost."""

    version: int = Field(description="Grows with every visible change; the ETag holds it", examples=[17])
    inputs: RunInputsOut
    recipe: Recipe
    stages: list[StageOut]
    total: Usage
    cancel_requested_at: datetime | None
    pause_requested_at: datetime | None

    @classmethod
    def of(cls, row: RunRow) -> Self:
        run, recipe = row.run, Recipe.model_validate(row.run.recipe)
        summary = RunSummaryOut.model_validate(run)
        return cls(
            **summary.model_dump(),
            version=run.version,
            inputs=RunInputsOut.of(run),
            recipe=recipe,
            stages=[StageOut.of(stage, row, recipe) for stage in row.stages],
            total=total(usage_of(stage) for stage in row.stages),
            cancel_requested_at=run.cancel_requested_at,
            pause_requested_at=run.pause_requested_at,
        )
