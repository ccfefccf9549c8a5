"""Stored first answers, and the lock that makes one request at a time the owner of a key."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.db.models import IdempotencyKey


def try_lock(session: Session, project_id: str, key: str) -> bool:
    """Until the transaction's end nobody else gets this; never waits."""
    lock = func.pg_try_advisory_xact_lock(func.hashtextextended(f"{project_id} {key}", 0))
    return bool(session.scalar(select(lock)))


def stored(session: Session, project_id: str, key: str) -> IdempotencyKey | None:
    return session.get(IdempotencyKey, (project_id, key))


def forget(session: Session, *, older_than: timedelta) -> None:
    """A key that old may be used anew."""
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < func.now() - older_than))
