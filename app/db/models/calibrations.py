"""Judges measured on people's labels, and those that are measured again on a schedule."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Id, Moment, Ref


class Calibration(Base):
    """A judge under one rubric revision. `report` is there once its run has succeeded.

    Of a canary it is the measurement that was due at `due_at`; `drift` is how it stands to the baseline.
    """

    __tablename__ = "calibrations"
    __table_args__ = (
        UniqueConstraint("run_id"),
        UniqueConstraint("canary_id", "due_at"),
        Index(None, "project_id", "id"),
        CheckConstraint("(canary_id IS NULL) = (due_at IS NULL)", name="canary_has_a_time"),
        CheckConstraint("drift IS NULL OR (canary_id IS NOT NULL AND report IS NOT NULL)", name="drift_of_a_canary"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    run_id: Mapped[Ref] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    judge_id: Mapped[Ref] = mapped_column(ForeignKey("judges.id"))
    rubric_revision_id: Mapped[Ref] = mapped_column(ForeignKey("rubric_revisions.id"))
    prompt_set_id: Mapped[Ref] = mapped_column(ForeignKey("prompt_sets.id"))
    canary_id: Mapped[Ref | None] = mapped_column(
        ForeignKey("canaries.id", ondelete="CASCADE", use_alter=True, name="fk_calibrations_canary_id")
    )
    due_at: Mapped[Moment | None]
    report: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))  # CalibrationReport
    drift: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))  # app.rlaif.drift.Drift
    created_at: Mapped[CreatedAt]


class Canary(Base):
    """A calibration that is repeated: the baseline's judge, rubric and labels, every so many hours until stopped."""

    __tablename__ = "canaries"
    __table_args__ = (
        Index(None, "project_id", "id"),
        Index("ix_canaries_due", "next_due_at", postgresql_where=text("stopped_at IS NULL")),
        CheckConstraint("every_hours >= 1", name="not_all_the_time"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    baseline_id: Mapped[Ref] = mapped_column(ForeignKey("calibrations.id", ondelete="CASCADE"))
    every_hours: Mapped[int] = mapped_column(Integer)
    next_due_at: Mapped[Moment]
    stopped_at: Mapped[Moment | None]
    created_at: Mapped[CreatedAt]
