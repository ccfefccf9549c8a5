"""The run engine's state: runs, stages, shards, the outbox, events and metric points. Postgres is the truth."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Big, Candidate, CreatedAt, Id, Json, Moment, Ref, Usd, enum_column
from app.rlaif.recipe import StageKind


class RunKind(StrEnum):
    """What a run is for. Only a pipeline trains, and so only it needs a base model; a scoring asks no judge."""

    PIPELINE = "pipeline"
    CALIBRATION = "calibration"
    TRIAL = "trial"
    SCORING = "scoring"
    EVALUATION = "evaluation"


class RunStatus(StrEnum):
    """A run's life. Wishes to cancel or pause are columns, `cancel_requested_at` and `pause_requested_at`."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)


class StageStatus(StrEnum):
    """`reused` means that another run's stage (`source_run_id`) stands for this one; `skipped`, that the rounds ended
    before it."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REUSED = "reused"
    SKIPPED = "skipped"


class ShardStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


CANCEL_PENDING = "cancel_requested_at IS NOT NULL AND finished_at IS NULL"
PAUSE_PENDING = "pause_requested_at IS NOT NULL AND status IN ('queued', 'running')"


class Run(Base):
    """One execution of a recipe. `version` grows with every visible change and is the ETag."""

    __tablename__ = "runs"
    __table_args__ = (
        Index(None, "project_id", "kind", "id"),
        Index("ix_runs_cancel_pending", "cancel_requested_at", postgresql_where=text(CANCEL_PENDING)),
        Index("ix_runs_pause_pending", "pause_requested_at", postgresql_where=text(PAUSE_PENDING)),
        CheckConstraint(
            "(status IN ('succeeded','failed','cancelled')) = (finished_at IS NOT NULL)", name="finished_when_terminal"
        ),
        CheckConstraint("status <> 'failed' OR error IS NOT NULL", name="failed_has_error"),
        CheckConstraint("kind <> 'pipeline' OR base_model_id IS NOT NULL", name="pipeline_has_base_model"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    kind: Mapped[RunKind] = mapped_column(
        enum_column(RunKind), default=RunKind.PIPELINE, server_default=RunKind.PIPELINE.value
    )
    name: Mapped[str] = mapped_column(String(200))
    status: Mapped[RunStatus] = mapped_column(enum_column(RunStatus), default=RunStatus.QUEUED)
    recipe: Mapped[Json]  # app.rlaif.recipe.Recipe
    rubric_revision_id: Mapped[Ref | None] = mapped_column(ForeignKey("rubric_revisions.id"))
    prompt_set_id: Mapped[Ref] = mapped_column(ForeignKey("prompt_sets.id"))
    base_model_id: Mapped[Ref | None] = mapped_column(ForeignKey("models.id"))
    judge_id: Mapped[Ref | None] = mapped_column(ForeignKey("judges.id"))
    evaluation_judge_id: Mapped[Ref | None] = mapped_column(ForeignKey("judges.id"))
    forked_from_id: Mapped[Ref | None] = mapped_column(ForeignKey("runs.id"))
    cancel_requested_at: Mapped[Moment | None]
    pause_requested_at: Mapped[Moment | None]
    pause_reason: Mapped[str | None] = mapped_column(String(500))
    error: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True)
    )  # {"code", "detail", "stage", "shard"}
    version: Mapped[Big] = mapped_column(default=1)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]


class Stage(Base):
    """One stage of one round. `phase` is an index into app.rlaif.pipeline's phases; the counts are of that phase."""

    __tablename__ = "stages"
    __table_args__ = (
        UniqueConstraint("run_id", "round", "kind"),
        CheckConstraint("done_shards <= total_shards", name="done_within_total"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[Ref] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    round: Mapped[int] = mapped_column(SmallInteger)
    position: Mapped[int] = mapped_column(SmallInteger)
    kind: Mapped[StageKind] = mapped_column(enum_column(StageKind))
    status: Mapped[StageStatus] = mapped_column(enum_column(StageStatus), default=StageStatus.PENDING)
    phase: Mapped[int] = mapped_column(SmallInteger, default=0)
    source_run_id: Mapped[Ref | None] = mapped_column(ForeignKey("runs.id"))
    total_shards: Mapped[int] = mapped_column(Integer, default=0)
    done_shards: Mapped[int] = mapped_column(Integer, default=0)
    total_units: Mapped[int] = mapped_column(Integer, default=0)
    done_units: Mapped[int] = mapped_column(Integer, default=0)
    metrics: Mapped[Json] = mapped_column(default=dict)  # last metrics, and what the stage reports at its end
    waiting_for: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))  # {"code", "detail", "since"}
    judge_usd: Mapped[Usd] = mapped_column(default=0)
    judge_calls: Mapped[Big] = mapped_column(default=0)
    prompt_tokens: Mapped[Big] = mapped_column(default=0)
    completion_tokens: Mapped[Big] = mapped_column(default=0)
    answers: Mapped[Big] = mapped_column(default=0, server_default="0")  # verdicts and scores, INVALID ones too
    cached_answers: Mapped[Big] = mapped_column(default=0, server_default="0")  # those that stored replies gave
    saved_usd: Mapped[Usd] = mapped_column(default=0, server_default="0")
    prices: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))  # judge id -> what it was paid by
    compute_seconds: Mapped[float] = mapped_column(Float, default=0.0)
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]
    pace_from: Mapped[Moment | None]  # since when it has been worked on without a break; null while it is not
    pace_units: Mapped[int] = mapped_column(Integer, default=0)  # `done_units` at that moment


class Shard(Base):
    """The unit of leased work. Only the holder of the current `lease_token` may write for it."""

    __tablename__ = "shards"
    __table_args__ = (
        UniqueConstraint("stage_id", "phase", "position"),
        Index(None, "run_id", "status"),
        Index("ix_shards_lease", "lease_expires_at", postgresql_where=text("status = 'running'")),
        Index("ix_shards_silent", "rung_at", postgresql_where=text("status = 'queued'")),
        CheckConstraint("(status = 'running') = (lease_expires_at IS NOT NULL)", name="running_has_lease"),
        CheckConstraint("attempt <= max_attempts", name="attempts_have_a_ceiling"),
        CheckConstraint("queue IN ('io', 'gpu')", name="queue_known"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[Ref] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    stage_id: Mapped[Ref] = mapped_column(ForeignKey("stages.id", ondelete="CASCADE"))
    phase: Mapped[int] = mapped_column(SmallInteger)
    position: Mapped[int] = mapped_column(Integer)
    queue: Mapped[str] = mapped_column(String(8))
    payload: Mapped[Json]  # what part of the stage this is: see app.rlaif.pipeline
    status: Mapped[ShardStatus] = mapped_column(enum_column(ShardStatus), default=ShardStatus.QUEUED)
    attempt: Mapped[int] = mapped_column(SmallInteger, default=0)
    max_attempts: Mapped[int] = mapped_column(SmallInteger)
    lease_token: Mapped[Big] = mapped_column(default=0)
    lease_expires_at: Mapped[Moment | None]
    worker: Mapped[str | None] = mapped_column(String(200))
    total_units: Mapped[int] = mapped_column(Integer, default=0)
    done_units: Mapped[int] = mapped_column(Integer, default=0)
    progress: Mapped[Json] = mapped_column(default=dict)  # the child's last report: step, total, metrics
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))  # the last attempt's cause
    rung_at: Mapped[CreatedAt]
    given_back: Mapped[int] = mapped_column(SmallInteger, default=0)  # times in a row, for a cause and without progress
    not_before: Mapped[Moment | None]  # given back to wait: until then neither rung nor claimed
    started_at: Mapped[Moment | None]
    finished_at: Mapped[Moment | None]


class Outbox(Base):
    """A message that became true with the transaction that wrote it; the relay sends it and deletes the row."""

    __tablename__ = "outbox"
    __table_args__ = (Index(None, "shard_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    shard_id: Mapped[Ref]
    queue: Mapped[str] = mapped_column(String(8))
    created_at: Mapped[CreatedAt]


class Event(Base):
    """What happened to a run, in order. `id` is the SSE event id."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "run_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[Ref] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    type: Mapped[str] = mapped_column(String(64))
    data: Mapped[Json]
    created_at: Mapped[CreatedAt]


class MetricPoint(Base):
    """One step's metrics of a training stage's candidate; a resumed step overwrites itself."""

    __tablename__ = "metric_points"

    stage_id: Mapped[Ref] = mapped_column(ForeignKey("stages.id", ondelete="CASCADE"), primary_key=True)
    candidate: Mapped[Candidate] = mapped_column(primary_key=True, server_default="0")
    step: Mapped[int] = mapped_column(Integer, primary_key=True)
    run_id: Mapped[Ref] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), index=True)
    data: Mapped[Json]
    created_at: Mapped[CreatedAt]
