"""What an operator asks of the database: does it answer, is it migrated, how deep are the queues."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, inspect, select, text
from sqlalchemy.orm import Session

from app.db.models import Outbox, Shard, ShardStatus


@dataclass(frozen=True, slots=True)
class QueueDepth:
    queue: str
    status: ShardStatus
    shards: int


@dataclass(frozen=True, slots=True)
class OutboxDepth:
    """`oldest_s` is the age of the oldest unsent message in seconds, 0 when there is none."""

    messages: int
    oldest_s: float


def migration(session: Session) -> str | None:
    """The revision the database stands at; None before the first migration."""
    if not inspect(session.connection()).has_table("alembic_version"):
        return None
    return str(session.scalar(text("SELECT version_num FROM alembic_version")))


def queue_depths(session: Session) -> list[QueueDepth]:
    live = (ShardStatus.QUEUED, ShardStatus.RUNNING)
    query = (
        select(Shard.queue, Shard.status, func.count())
        .where(Shard.status.in_(live))
        .group_by(Shard.queue, Shard.status)
    )
    counted = {(queue, status): count for queue, status, count in session.execute(query)}
    return [QueueDepth(queue, status, counted.get((queue, status), 0)) for queue in ("io", "gpu") for status in live]


def outbox_depth(session: Session) -> OutboxDepth:
    age = func.coalesce(func.extract("epoch", func.now() - func.min(Outbox.created_at)), 0)
    messages, oldest = session.execute(select(func.count(), age).select_from(Outbox)).one()
    return OutboxDepth(messages, float(oldest))
