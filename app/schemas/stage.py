"""A stage of a run as clients see it: how far, how fast, how long still, at what cost."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from app.db.models import Stage, StageStatus
from app.repositories.runs import RunRow
from app.rlaif.pipeline import PhaseName, phases
from app.rlaif.progress import Progress
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.usage import Usage


class WaitingOut(BaseModel):
    """What keeps a stage from going on. It goes on by itself once that is over."""

    model_config = ConfigDict(frozen=True)

    code: str = Field(examples=["judge_unavailable"])
    detail: str = Field(examples=["judge 'gpt': the judge endpoint is out of reach, last: HTTP 503"])
    since: datetime = Field(description="When it first stood in the way")


class StageOut(BaseModel):
    """One stage of one round. The counts, the pace and the time left are those of its present phase."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["stage_01m7xk5mgzeyva4mageqj2tqtk"])
    round: int = Field(examples=[0])
    kind: StageKind
    status: StageStatus
    phase: PhaseName
    done_shards: int = Field(examples=[3])
    total_shards: int = Field(examples=[4])
    done_units: int = Field(description="Prompts, or training steps, or 1 for what is done at once", examples=[192])
    total_units: int = Field(examples=[256])
    throughput: float | None = Field(
        description="Units a second since it was last begun or taken up again; null before the first", examples=[9.6]
    )
    eta_seconds: float | None = Field(description="Until the present phase ends; null while unknown", examples=[6.7])
    metrics: dict[str, Any] = Field(description="The last ones while it runs, its results afterwards")
    usage: Usage = Field(description="What it has cost so far")
    waiting_for: WaitingOut | None = Field(description="What it waits for; null once anything gets done")
    source_run_id: str | None = Field(description="The run that executed a reused stage", examples=[None])
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, stage: Stage, run: RunRow, recipe: Recipe) -> Self:
        progress = _progress(stage, run.now)
        running = stage.status is StageStatus.RUNNING
        return cls(
            id=stage.id,
            round=stage.round,
            kind=stage.kind,
            status=stage.status,
            phase=phases(stage.kind, recipe, run.inputs)[stage.phase].name,
            done_shards=stage.done_shards,
            total_shards=stage.total_shards,
            done_units=stage.done_units,
            total_units=stage.total_units,
            throughput=progress.throughput if running else None,
            eta_seconds=progress.eta_s if running else None,
            metrics=stage.metrics,
            usage=usage_of(stage),
            waiting_for=WaitingOut.model_validate(stage.waiting_for) if running and stage.waiting_for else None,
            source_run_id=stage.source_run_id,
            started_at=stage.started_at,
            finished_at=stage.finished_at,
        )


def _progress(stage: Stage, now: datetime) -> Progress:
    """At the pace of the present spell of work: a pause or an outage before it is no part of it."""
    elapsed_s = 0.0 if stage.pace_from is None else (now - stage.pace_from).total_seconds()
    return Progress(stage.done_units, stage.total_units, paced=stage.done_units - stage.pace_units, elapsed_s=elapsed_s)


def usage_of(stage: Stage) -> Usage:
    """A stage's cost so far."""
    return Usage(
        judge_usd=float(stage.judge_usd),
        judge_calls=stage.judge_calls,
        prompt_tokens=stage.prompt_tokens,
        completion_tokens=stage.completion_tokens,
        answers=stage.answers,
        cached_answers=stage.cached_answers,
        saved_usd=float(stage.saved_usd),
        compute_seconds=stage.compute_seconds,
    )
