"""Calibrations as clients send and see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from app.db.models import Calibration, RunStatus
from app.repositories.calibrations import CalibrationRow
from app.rlaif.calibration_evidence import CalibrationReport
from app.rlaif.modes import Mode
from app.rlaif.recipe import Budget
from app.schemas.names import ResourceName

PartId = Annotated[str, StringConstraints(min_length=1, max_length=100)]
EXAMPLE_CALIBRATION: dict[str, JsonValue] = {
    "name": "gpt on support",
    "judge": "judge_01m7xk5mgzeyva4mageqj2tqtk",
    "rubric_revision_id": "revision_01m7xk5mgzeyva4mageqj2tqtk",
    "prompt_set": "pset_01m7xk5mgzeyva4mageqj2tqtk",
}


class CalibrationIn(BaseModel):
    """A judge, a panel or a cascade, to be measured on people's labels under one rubric revision."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [EXAMPLE_CALIBRATION]})

    name: ResourceName
    judge: PartId = Field(description="The judge to measure")
    rubric_revision_id: PartId = Field(description="The revision that it judges by")
    prompt_set: PartId = Field(
        description="The labelled set: prompts with `candidates`, and `annotations` or `preferences` between them"
    )
    split: Literal["train", "held_out", "all"] = Field("all", description="Which prompts of the set")
    limit: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = Field(
        None, description="At most so many prompts"
    )
    mode: Mode = Field(Mode.PAIRWISE, description="How the judge is asked: as in the runs that will use it")
    repeats: Annotated[int, Field(strict=True, ge=1, le=16)] = 1
    principle: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = Field(
        None, description="The one principle to judge by, counted from 1; without it each comparison draws one"
    )
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    folds: Annotated[int, Field(strict=True, ge=2, le=50)] = Field(
        10, description="Folds of the cross-validation, at most one a prompt"
    )
    budget: Budget = Field(Budget(), description="What it may cost; reached, its run pauses")


class CalibrationSummaryOut(BaseModel):
    """A calibration in a list."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["calibration_01m7xk5mgzeyva4mageqj2tqtk"])
    name: str = Field(examples=["gpt on support"])
    judge_id: str = Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
    rubric_revision_id: str = Field(examples=["revision_01m7xk5mgzeyva4mageqj2tqtk"])
    prompt_set_id: str = Field(examples=["pset_01m7xk5mgzeyva4mageqj2tqtk"])
    run_id: str = Field(description="The run that measures", examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
    canary_id: str | None = Field(description="The canary that it is a measurement of", examples=[None])
    measured: bool = Field(description="Whether the report is there")
    created_at: datetime

    @classmethod
    def of(cls, row: Calibration) -> Self:
        return cls(
            id=row.id,
            name=row.name,
            judge_id=row.judge_id,
            rubric_revision_id=row.rubric_revision_id,
            prompt_set_id=row.prompt_set_id,
            run_id=row.run_id,
            canary_id=row.canary_id,
            measured=row.report is not None,
            created_at=row.created_at,
        )


class CalibrationOut(CalibrationSummaryOut):
    """A calibration: how its run stands, and once it has succeeded the report."""

    status: RunStatus = Field(description="Of the run that measures")
    error: dict[str, Any] | None = Field(description="Why the run failed", examples=[None])
    pause_reason: str | None = Field(examples=[None])
    report: CalibrationReport | None = Field(description="Null until it is measured")

    @classmethod
    def of_row(cls, row: CalibrationRow) -> Self:
        return cls(
            **CalibrationSummaryOut.of(row.calibration).model_dump(),
            status=row.run.status,
            error=row.run.error,
            pause_reason=row.run.pause_reason,
            report=None if row.calibration.report is None else CalibrationReport.model_validate(row.calibration.report),
        )
