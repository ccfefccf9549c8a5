"""The outbox: doorbells that became true with the transaction that wrote them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.orm import Session

from app.db.models import Outbox, Shard, ShardStatus

CHANNEL = "rlaif_outbox"


@dataclass(frozen=True, slots=True)
class Doorbell:
    """One message: ring `queue` for `shard_id`."""

    id: int
    shard_id: str
    queue: str


def ring(session: Session, shard_ids: Sequence[str]) -> None:
    """A doorbell for each of these shards, and a nudge to the relay when this commits."""
    _ring(session, Shard.id.in_(shard_ids))


def ring_run(session: Session, run_id: str) -> None:
    """A doorbell for every queued shard of a run, also for those that were to wait."""
    _ring(session, Shard.run_id == run_id)


def _ring(session: Session, which: ColumnElement[bool]) -> None:
    queued = select(Shard.id, Shard.queue).where(which, Shard.status == ShardStatus.QUEUED)
    session.execute(insert(Outbox).from_select(["shard_id", "queue"], queued))
    session.execute(
        update(Shard)
        .where(which, Shard.status == ShardStatus.QUEUED)
        .values(rung_at=func.now(), not_before=None)
        .execution_options(synchronize_session=False)
    )
    session.execute(select(func.pg_notify(CHANNEL, "")))


def rest(session: Session, shard_id: str) -> None:
    """No doorbell now: the rescuer rings after its usual silence."""
    session.execute(
        update(Shard)
        .where(Shard.id == shard_id)
        .values(rung_at=func.now())
        .execution_options(synchronize_session=False)
    )


def claim(session: Session, *, limit: int) -> list[Doorbell]:
    """The oldest doorbells that no other relay holds, locked until this transaction ends."""
    query = select(Outbox).order_by(Outbox.id).limit(limit).with_for_update(skip_locked=True)
    return [Doorbell(row.id, row.shard_id, row.queue) for row in session.scalars(query)]


def forget(session: Session, doorbells: Sequence[Doorbell]) -> None:
    """Delete what was sent."""
    session.execute(delete(Outbox).where(Outbox.id.in_([doorbell.id for doorbell in doorbells])))


def waiting(session: Session, shard_ids: Sequence[str]) -> set[str]:
    """Those shards whose doorbell has not been sent yet."""
    query = select(Outbox.shard_id).where(Outbox.shard_id.in_(shard_ids))
    return set(session.scalars(query))
