"""What is done for shards whose holder or doorbell has gone silent. Several rescuers may do it at once."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.repositories import outbox, shards, stages
from app.services.engine.hold import Hold, lock_run
from app.services.engine.outcome import Cause, fail_held, release_held
from app.services.engine.progression import settle

BATCH = 200


def expired(session: Session) -> list[str]:
    """Shards whose lease has run out, to be recovered one by one."""
    return shards.expired(session, limit=BATCH)


def recover(session: Session, shard_id: str) -> bool:
    """Count the attempt of a holder that vanished, and let the next one try; False when it is there after all."""
    run_id = shards.run_of(session, shard_id)
    if run_id is None:
        return False
    run = lock_run(session, run_id)
    shard = shards.expired_one(session, shard_id)
    if shard is None:
        return False
    held = Hold(run, stages.locked(session, shard.stage_id), shard)
    cause = Cause("lease_expired", f"worker {shard.worker} stopped renewing its lease: killed, cut off or suspended")
    fail_held(session, held, cause, retryable=True)
    return True


def not_stopping(session: Session, *, patience_s: float) -> list[str]:
    """Runs whose holders have not followed a wish to cancel or to pause in time."""
    return shards.runs_not_stopping(session, patience_s=patience_s, limit=BATCH)


def stop(session: Session, run_id: str) -> None:
    """Take the shards of such a run from their holders, whose tokens are stale from here on.

    A shard that is being written at this very moment is left for the next time.
    """
    run = lock_run(session, run_id)
    if run.cancel_requested_at is None and run.pause_requested_at is None:
        return
    for shard in shards.running_of(session, run_id):
        release_held(session, Hold(run, stages.locked(session, shard.stage_id), shard))
    settle(session, run)


def is_open(session: Session, shard_id: str) -> bool:
    """Whether the shard may still be worked on: now, when its run is resumed, or when it is retried."""
    return shards.is_open(session, shard_id)


def ring_silent(session: Session, *, queue: str, silence_s: float, limit: int) -> int:
    """Ring again for queued shards whose doorbell may be lost, longest silence first; says for how many."""
    found = [shard.id for shard in shards.silent(session, queue=queue, silence_s=silence_s, limit=limit)]
    unsent = outbox.waiting(session, found)
    wanted = [id_ for id_ in shards.runnable(session, found) if id_ not in unsent]
    for id_ in set(found) - set(wanted):
        outbox.rest(session, id_)
    outbox.ring(session, wanted)
    return len(wanted)
