"""Standing cohorts: production's exchanges as they are imported, of which prompt sets are drawn."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Id, JsonList, Moment, Ref


class StandingCohort(Base):
    """A sample of production's prompts that is drawn again as traces arrive; each draw is a prompt set of its own."""

    __tablename__ = "standing_cohorts"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        CheckConstraint("size >= 1", name="draws_something"),
        CheckConstraint("(prompt_set_id IS NULL) = (refreshed_at IS NULL)", name="drawn_at_a_time"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    cohort: Mapped[str] = mapped_column(String(100))
    size: Mapped[int] = mapped_column(Integer)
    maximum_age_days: Mapped[int | None] = mapped_column(Integer)
    prompt_set_id: Mapped[Ref | None] = mapped_column(ForeignKey("prompt_sets.id"))
    refreshed_at: Mapped[Moment | None]
    created_at: Mapped[CreatedAt]


class Trace(Base):
    """One question that production was asked, with its newest answer."""

    __tablename__ = "traces"
    __table_args__ = (
        UniqueConstraint("standing_cohort_id", "prompt_hash", name="uq_traces_unit"),
        Index(None, "standing_cohort_id", "id"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    standing_cohort_id: Mapped[Ref] = mapped_column(ForeignKey("standing_cohorts.id", ondelete="CASCADE"))
    prompt_hash: Mapped[str] = mapped_column(String(64))
    messages: Mapped[JsonList]
    tools: Mapped[JsonList | None]
    response: Mapped[Any] = mapped_column(JSONB(none_as_null=True))  # a text, or the turns of a trajectory
    model: Mapped[str | None] = mapped_column(String(100))
    occurred_at: Mapped[Moment]  # as the trace says, else when it was imported
    created_at: Mapped[CreatedAt]
