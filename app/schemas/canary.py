"""Canaries as clients send and see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.db.models import Canary, RunStatus
from app.repositories.calibrations import CalibrationRow
from app.repositories.canaries import CanaryRow
from app.rlaif.drift import Drift
from app.schemas.names import ResourceName


class CanaryIn(BaseModel):
    """A calibration to be repeated: the same judge, rubric revision and labels."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"name": "gpt daily", "baseline": "calibration_01m7xk5mgzeyva4mageqj2tqtk", "every_hours": 24}]
        },
    )

    name: ResourceName
    baseline: Annotated[str, StringConstraints(min_length=1, max_length=100)] = Field(
        description="The calibration to compare with; what it asked is asked again"
    )
    every_hours: Annotated[int, Field(strict=True, ge=1, le=8760)] = Field(description="How often")


class MeasurementOut(BaseModel):
    """One time that a canary was measured."""

    model_config = ConfigDict(frozen=True)

    calibration_id: str = Field(examples=["calibration_01m7xk5mgzeyva4mageqj2tqtk"])
    run_id: str = Field(examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
    due_at: datetime | None
    status: RunStatus = Field(description="Of the run that measures")
    drift: Drift | None = Field(description="How the judge stands to the baseline; null until it is measured")

    @classmethod
    def of(cls, row: CalibrationRow) -> Self:
        return cls(
            calibration_id=row.calibration.id,
            run_id=row.run.id,
            due_at=row.calibration.due_at,
            status=row.run.status,
            drift=None if row.calibration.drift is None else Drift.model_validate(row.calibration.drift),
        )


class CanarySummaryOut(BaseModel):
    """A canary in a list."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["canary_01m7xk5mgzeyva4mageqj2tqtk"])
    name: str = Field(examples=["gpt daily"])
    baseline_id: str = Field(examples=["calibration_01m7xk5mgzeyva4mageqj2tqtk"])
    every_hours: int = Field(examples=[24])
    next_due_at: datetime | None = Field(description="Null once it is stopped")
    stopped_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, canary: Canary) -> Self:
        return cls(
            id=canary.id,
            name=canary.name,
            baseline_id=canary.baseline_id,
            every_hours=canary.every_hours,
            next_due_at=canary.next_due_at if canary.stopped_at is None else None,
            stopped_at=canary.stopped_at,
            created_at=canary.created_at,
        )


class CanaryOut(CanarySummaryOut):
    """A canary with its newest measurements."""

    drifted: bool | None = Field(description="By the newest measurement that has ended; null before the first")
    reasons: list[str] = Field(description="Why it is said to have drifted")
    measurements: list[MeasurementOut] = Field(description="The newest first, at most 50")

    @classmethod
    def of_row(cls, row: CanaryRow) -> Self:
        measurements = [MeasurementOut.of(each) for each in row.measurements]
        newest = next((each.drift for each in measurements if each.drift is not None), None)
        return cls(
            **CanarySummaryOut.of(row.canary).model_dump(),
            drifted=None if newest is None else newest.drifted,
            reasons=[] if newest is None else list(newest.reasons),
            measurements=measurements,
        )
