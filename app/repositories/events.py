"""What happened to runs, and the notification that something did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.db.models import Event, Run

CHANNEL = "rlaif_runs"


def add(session: Session, run_id: str, project_id: str, type_: str, data: dict[str, Any]) -> None:
    session.add(Event(run_id=run_id, project_id=project_id, type=type_, data=data))
    session.flush()
    notify(session, run_id)


def exists(session: Session, run_id: str, type_: str, data: Mapping[str, Any]) -> bool:
    """Whether an event of the type holds all of `data`."""
    query = select(Event.id).where(Event.run_id == run_id, Event.type == type_, Event.data.contains(dict(data)))
    return session.scalars(query.limit(1)).first() is not None


def of_type(session: Session, run_id: str, type_: str) -> list[Event]:
    """In the order in which they happened."""
    query = select(Event).where(Event.run_id == run_id, Event.type == type_)
    return list(session.scalars(query.order_by(Event.id)))


def touch(session: Session, run_id: str) -> None:
    """The run's version grows, so that a poll sees a change."""
    session.execute(update(Run).where(Run.id == run_id).values(version=Run.version + 1, updated_at=func.now()))
    notify(session, run_id)


def notify(session: Session, run_id: str) -> None:
    """Wake those who listen for this run when the transaction commits."""
    session.execute(select(func.pg_notify(CHANNEL, run_id)))
