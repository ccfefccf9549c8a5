"""Locks. One order everywhere, so that nothing deadlocks: the run, then a shard, then a stage.

A stage function's transaction holds its shard FOR KEY SHARE and may write its stage, never the run.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Run, RunStatus, Shard, Stage
from app.repositories import shards, stages


@dataclass(frozen=True, slots=True)
class Hold:
    """A running shard whose token was current when its rows were locked."""

    run: Run
    stage: Stage
    shard: Shard


def lock_run(session: Session, run_id: str) -> Run:
    """The run as it is now. FOR NO KEY UPDATE: rows that refer to the run can still be added by others."""
    session.flush()
    query = select(Run).where(Run.id == run_id).with_for_update(key_share=True)
    return session.scalars(query.execution_options(populate_existing=True)).one()


def hold(session: Session, shard_id: str, token: int, *, beside_fence: bool = False) -> Hold | None:
    """Lock run, shard and stage for the token's holder; None when the token is stale.

    `beside_fence` is for what leaves the holder in place: it does not wait for the holder's own transaction.
    """
    run_id = shards.run_of(session, shard_id)
    if run_id is None:
        return None
    run = lock_run(session, run_id)
    shard = shards.held(session, shard_id, token, beside_fence=beside_fence)
    return None if shard is None else Hold(run, stages.locked(session, shard.stage_id), shard)


def is_runnable(run: Run) -> bool:
    """Whether shards of the run may be claimed."""
    return (
        run.status in (RunStatus.QUEUED, RunStatus.RUNNING)
        and run.cancel_requested_at is None
        and run.pause_requested_at is None
    )
