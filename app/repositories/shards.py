"""Shards: the unit of leased work. Whoever changes a shard's holder locks its row FOR UPDATE, which waits for the
holder's fenced transaction; a renewal and the fence itself (FOR KEY SHARE) pass each other."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, text, union, update
from sqlalchemy.orm import Session

from app.db.models import Run, RunStatus, Shard, ShardStatus
from app.db.models.engine import PAUSE_PENDING

OPEN = (ShardStatus.QUEUED, ShardStatus.RUNNING)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked of the holder of a shard's current token."""

    run_status: RunStatus
    cancel: bool
    pause: bool


def run_of(session: Session, shard_id: str) -> str | None:
    return session.scalar(select(Shard.run_id).where(Shard.id == shard_id))


def claim(session: Session, shard_id: str, *, worker: str, lease_s: float) -> Shard | None:
    """Take a queued shard, or one whose lease has run out; None when it is somebody's, done, or to wait."""
    free = or_(
        and_(Shard.status == ShardStatus.QUEUED, _due()),
        and_(Shard.status == ShardStatus.RUNNING, Shard.lease_expires_at < func.now()),
    )
    target = (
        select(Shard.id)
        .where(Shard.id == shard_id, free, Shard.attempt < Shard.max_attempts)
        .with_for_update(skip_locked=True)
    )
    taken = (
        update(Shard)
        .where(Shard.id == target.scalar_subquery())
        .values(
            status=ShardStatus.RUNNING,
            worker=worker,
            attempt=Shard.attempt + 1,
            lease_token=Shard.lease_token + 1,
            lease_expires_at=func.now() + timedelta(seconds=lease_s),
            not_before=None,
            started_at=func.coalesce(Shard.started_at, func.now()),
        )
        .returning(Shard)
    )
    return session.scalar(taken.execution_options(populate_existing=True, synchronize_session=False))


def renew(session: Session, shard_id: str, token: int, *, lease_s: float) -> Wishes | None:
    """Lengthen the lease of the token's holder; None when the token is stale."""
    renewed = (
        update(Shard)
        .where(_held(shard_id, token), Run.id == Shard.run_id)
        .values(lease_expires_at=func.now() + timedelta(seconds=lease_s))
        .returning(Run.status, Run.cancel_requested_at.is_not(None), Run.pause_requested_at.is_not(None))
    )
    row = session.execute(renewed.execution_options(synchronize_session=False)).one_or_none()
    return None if row is None else Wishes(*row)


def wishes(session: Session, shard_id: str, token: int) -> Wishes | None:
    """What `renew` answers, without renewing."""
    query = (
        select(Run.status, Run.cancel_requested_at.is_not(None), Run.pause_requested_at.is_not(None))
        .join(Shard, Shard.run_id == Run.id)
        .where(_held(shard_id, token))
    )
    row = session.execute(query).one_or_none()
    return None if row is None else Wishes(*row)


def is_held(session: Session, shard_id: str, token: int) -> bool:
    """Whether the token is current; if so no one can take the shard over before this transaction ends."""
    query = select(Shard.id).where(_held(shard_id, token)).with_for_update(read=True, key_share=True)
    return session.scalar(query) is not None


def held(session: Session, shard_id: str, token: int, *, beside_fence: bool) -> Shard | None:
    """The shard, locked, when the token is current; `beside_fence` does not wait for the holder's transaction."""
    query = select(Shard).where(_held(shard_id, token)).with_for_update(key_share=beside_fence)
    return session.scalar(query.execution_options(populate_existing=True))


def expired(session: Session, *, limit: int) -> list[str]:
    """Shards whose holder has been silent for the whole lease."""
    query = select(Shard.id).where(Shard.status == ShardStatus.RUNNING, Shard.lease_expires_at < func.now())
    return list(session.scalars(query.order_by(Shard.lease_expires_at).limit(limit)))


def expired_one(session: Session, shard_id: str) -> Shard | None:
    """The shard, locked, when its lease has run out and nobody is writing under it."""
    query = (
        select(Shard)
        .where(Shard.id == shard_id, Shard.status == ShardStatus.RUNNING, Shard.lease_expires_at < func.now())
        .with_for_update(skip_locked=True)
    )
    return session.scalar(query.execution_options(populate_existing=True))


def running_of(session: Session, run_id: str) -> list[Shard]:
    """Every running shard of a run that nobody is writing under at this moment, locked."""
    query = (
        select(Shard)
        .where(Shard.run_id == run_id, Shard.status == ShardStatus.RUNNING)
        .order_by(Shard.id)
        .with_for_update(skip_locked=True)
    )
    return list(session.scalars(query.execution_options(populate_existing=True)))


def is_open(session: Session, shard_id: str) -> bool:
    """Whether the shard has not succeeded and its run can still go on; a failed run can be retried."""
    query = select(Shard.id).join(Run, Run.id == Shard.run_id)
    going_on = Run.status.not_in((RunStatus.SUCCEEDED, RunStatus.CANCELLED))
    return (
        session.scalar(query.where(Shard.id == shard_id, Shard.status != ShardStatus.SUCCEEDED, going_on)) is not None
    )


def any_running(session: Session, run_id: str) -> bool:
    query = select(Shard.id).where(Shard.run_id == run_id, Shard.status == ShardStatus.RUNNING).limit(1)
    return session.scalar(query) is not None


def cancel_queued(session: Session, run_id: str) -> None:
    """Close what nobody has begun."""
    session.execute(
        update(Shard)
        .where(Shard.run_id == run_id, Shard.status == ShardStatus.QUEUED)
        .values(status=ShardStatus.CANCELLED, finished_at=func.now())
        .execution_options(synchronize_session=False)
    )


def cancel_open(session: Session, run_id: str) -> None:
    """Close everything unfinished, taking running shards from their holders."""
    open_ids = select(Shard.id).where(Shard.run_id == run_id, Shard.status.in_(OPEN)).order_by(Shard.id)
    ids = list(session.scalars(open_ids.with_for_update()))
    session.execute(
        update(Shard)
        .where(Shard.id.in_(ids))
        .values(
            status=ShardStatus.CANCELLED,
            lease_token=Shard.lease_token + 1,
            lease_expires_at=None,
            finished_at=func.now(),
        )
        .execution_options(synchronize_session=False)
    )


def reopen(session: Session, run_id: str) -> None:
    """Failed and cancelled shards of a run begin again, with all their attempts."""
    session.execute(
        update(Shard)
        .where(Shard.run_id == run_id, Shard.status.in_((ShardStatus.FAILED, ShardStatus.CANCELLED)))
        .values(status=ShardStatus.QUEUED, attempt=0, given_back=0, error=None, finished_at=None)
        .execution_options(synchronize_session=False)
    )


def begin_again(session: Session, stage_id: str, *, phase: int) -> list[int]:
    """Every shard of a phase is to be done once more, with all its attempts; says how many units each has."""
    again = (
        update(Shard)
        .where(Shard.stage_id == stage_id, Shard.phase == phase)
        .values(status=ShardStatus.QUEUED, attempt=0, given_back=0, done_units=0, error=None, finished_at=None)
        .returning(Shard.total_units)
    )
    return list(session.scalars(again.execution_options(synchronize_session=False)))


def forget_behind(session: Session, stage_id: str, *, phase: int) -> None:
    """The phases after this one have not been."""
    behind = delete(Shard).where(Shard.stage_id == stage_id, Shard.phase > phase)
    session.execute(behind.execution_options(synchronize_session=False))


def silent(session: Session, *, queue: str, silence_s: float, limit: int) -> list[Shard]:
    """Queued shards that need not wait and were not rung for a while, longest silence first, locked.

    Those being written are left alone.
    """
    query = (
        select(Shard)
        .where(
            Shard.status == ShardStatus.QUEUED,
            Shard.queue == queue,
            Shard.rung_at < func.now() - timedelta(seconds=silence_s),
            _due(),
        )
        .order_by(Shard.rung_at)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    return list(session.scalars(query.execution_options(populate_existing=True)))


def runs_not_stopping(session: Session, *, patience_s: float, limit: int) -> list[str]:
    """Runs whose cancel or pause was asked for this long ago and is not fulfilled."""
    since = func.now() - timedelta(seconds=patience_s)
    cancelling = select(Run.id).where(
        Run.cancel_requested_at.is_not(None), Run.finished_at.is_(None), Run.cancel_requested_at < since
    )
    pausing = select(Run.id).where(text(PAUSE_PENDING), Run.pause_requested_at < since)
    return list(session.scalars(union(cancelling, pausing).limit(limit)))


def runnable(session: Session, shard_ids: Iterable[str]) -> list[str]:
    """Those shards that a worker could claim now."""
    query = (
        select(Shard.id)
        .join(Run, Run.id == Shard.run_id)
        .where(
            Shard.id.in_(shard_ids),
            Shard.status == ShardStatus.QUEUED,
            Run.status.in_((RunStatus.QUEUED, RunStatus.RUNNING)),
            Run.cancel_requested_at.is_(None),
            Run.pause_requested_at.is_(None),
        )
    )
    return list(session.scalars(query))


def _due() -> ColumnElement[bool]:
    return or_(Shard.not_before.is_(None), Shard.not_before <= func.now())


def _held(shard_id: str, token: int) -> ColumnElement[bool]:
    return and_(Shard.id == shard_id, Shard.lease_token == token, Shard.status == ShardStatus.RUNNING)
