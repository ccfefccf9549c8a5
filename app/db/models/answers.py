"""Stored answers: what judges said before, brought by a client to be replayed."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Id, Json, Ref


class AnswerSet(Base):
    """A named, immutable set of answers; the answers themselves are a file in the store."""

    __tablename__ = "answer_sets"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        CheckConstraint("answer_count >= 1", name="not_empty"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    answer_count: Mapped[int] = mapped_column(Integer)
    by_answer: Mapped[Json]  # app.rlaif.comparison.Answer -> number of answers
    storage_key: Mapped[str] = mapped_column(String(500))
    digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[CreatedAt]
