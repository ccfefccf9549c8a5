"""Capability tasks, their documents, and what each model scored on them: a figure is computed once for each model."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Id, Json, JsonList, Long, Ref


class Task(Base):
    """A named, immutable task; `config` is an app.rlaif.task.TaskConfig."""

    __tablename__ = "tasks"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        CheckConstraint("document_count >= 1", name="not_empty"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    config: Mapped[Json]
    document_count: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str] = mapped_column(String(64))  # of what a figure depends on, so not of the name
    created_at: Mapped[CreatedAt]


class TaskDocument(Base):
    """One document as it was sent and as it is asked: rendered once, so that no worker runs a client's template."""

    __tablename__ = "task_documents"

    task_id: Mapped[Ref] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    document: Mapped[Json]
    system: Mapped[Long]
    context: Mapped[Long]
    choices: Mapped[JsonList]
    gold: Mapped[JsonList]  # places of the right choices
    targets: Mapped[JsonList]  # right texts, where there are no choices


class TaskOutcome(Base):
    """What one model's answer to one document scored, whichever run asked: `digest` is the task's."""

    __tablename__ = "task_outcomes"

    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    model_digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[Long | None]  # what the model wrote
    logprobs: Mapped[JsonList]  # of each choice or of the target, in nats
    scores: Mapped[Json]  # by figure
    created_at: Mapped[CreatedAt]
