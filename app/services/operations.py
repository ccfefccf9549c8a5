"""Readiness and the figures that an operator scrapes."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session

from app.errors import Unavailable
from app.repositories import operations
from app.repositories.operations import OutboxDepth, QueueDepth


class NotMigrated(Unavailable):
    """Raised while the database's tables are older or newer than this code."""


@lru_cache(maxsize=1)
def head() -> str | None:
    """The newest migration this code knows."""
    return ScriptDirectory(str(Path(__file__).parents[2] / "migrations")).get_current_head()


def require_ready(session: Session) -> str:
    """The migration that database and code agree on. Raises NotMigrated, and what an absent database raises."""
    found = operations.migration(session)
    if found is None or found != head():
        raise NotMigrated(f"the database is at migration {found}, this code needs {head()}: run `rlaif migrate`")
    return found


def queue_depths(session: Session) -> list[QueueDepth]:
    return operations.queue_depths(session)


def outbox_depth(session: Session) -> OutboxDepth:
    return operations.outbox_depth(session)
