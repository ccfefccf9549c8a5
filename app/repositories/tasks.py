"""Capability tasks, their documents, and what models scored on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.models import Task, TaskDocument, TaskOutcome
from app.repositories.pages import Chunk, Slice, chunk

ROWS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """What one model's answer to the document at `position` scored, by figure."""

    position: int
    scores: Mapping[str, float]


def get(session: Session, project_id: str, task_id: str) -> Task | None:
    return session.scalar(select(Task).where(Task.project_id == project_id, Task.id == task_id))


def named(session: Session, project_id: str, name: str) -> Task | None:
    return session.scalar(select(Task).where(Task.project_id == project_id, Task.name == name))


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[Task]:
    query = select(Task).where(Task.project_id == project_id)
    if name is not None:
        query = query.where(Task.name == name)
    return chunk(session, query, slice_, by=Task.id, newest_first=True)


def documents(session: Session, task_id: str, slice_: Slice) -> Chunk[TaskDocument]:
    """A task's documents, in their order."""
    query = select(TaskDocument).where(TaskDocument.task_id == task_id)
    return chunk(session, query, slice_, by=TaskDocument.position)


def add_documents(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert a new task's documents, some at a time: a statement's parameters are bounded."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        session.execute(insert(TaskDocument), [dict(row) for row in rows[start : start + ROWS_AT_ONCE]])


def add_outcomes(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Those that are stored already stay as they are."""
    if rows:
        session.execute(insert(TaskOutcome).on_conflict_do_nothing(), [dict(row) for row in rows])


def outcomes(session: Session, project_id: str, *, digest: str, model_digest: str) -> list[OutcomeRow]:
    """What a model scored on a task so far, by position."""
    query = select(TaskOutcome.position, TaskOutcome.scores).where(
        TaskOutcome.project_id == project_id,
        TaskOutcome.digest == digest,
        TaskOutcome.model_digest == model_digest,
    )
    return [OutcomeRow(row.position, row.scores) for row in session.execute(query.order_by(TaskOutcome.position))]


def outcome_page(
    session: Session, project_id: str, slice_: Slice, *, digest: str, model_digest: str
) -> Chunk[TaskOutcome]:
    """A model's outcomes on a task, in the order of its documents."""
    query = select(TaskOutcome).where(
        TaskOutcome.project_id == project_id, TaskOutcome.digest == digest, TaskOutcome.model_digest == model_digest
    )
    return chunk(session, query, slice_, by=TaskOutcome.position)
