"""How a holder's time with a shard ends. Each function checks the token, and answers False when it is stale.

A shard's end and all that follows from it (the next phase, the run's end, events, doorbells) are one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.models import Shard, ShardStatus, Stage
from app.repositories import outbox
from app.services.engine.control import note_pause
from app.services.engine.hold import Hold, hold, is_runnable
from app.services.engine.lease import TRAINING, beside, candidate_metrics, clear_obstacle, count_units, is_range
from app.services.engine.notices import EventType, emit, touch
from app.services.engine.progression import advance, fail, settle

FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 60.0
"""How long a shard that was given back waits when nobody says how long: doubled each time in a row."""

LONGEST_OWN_WAIT_S = 3600.0
"""The longest wait that a cause may ask for."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an attempt failed or was given back: a stable code and what a person should read."""

    code: str
    detail: str

    def at(self, stage: Stage, shard: Shard) -> dict[str, object]:
        """The cause as it is stored and shown, with its place."""
        return {
            "code": self.code,
            "detail": self.detail,
            "stage": stage.kind.value,
            "shard": shard.id,
            "attempt": shard.attempt,
        }


def complete(session: Session, shard_id: str, token: int, *, units: int, metrics: Mapping[str, Any]) -> bool:
    """The shard has succeeded. The last one of its phase opens what comes next."""
    held = hold(session, shard_id, token)
    if held is None:
        return False
    run, stage, shard = held.run, held.stage, held.shard
    _close(shard, ShardStatus.SUCCEEDED)
    shard.error = None
    clear_obstacle(held)
    count_units(held, done=units, total=units)
    stage.done_shards += 1
    stage.metrics = _results(stage, shard, metrics)
    session.flush()
    if stage.done_shards == stage.total_shards and run.cancel_requested_at is None:
        advance(session, run, stage)
    settle(session, run)
    touch(session, run.id)
    return True


def _results(stage: Stage, shard: Shard, new: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a stage once a shard of it has ended.

    A training's results take the place of its last step's metrics. Elsewhere a shard that is its whole phase adds to
    what the phases before it handed on, and the numbers of ranges are counts, which add up. A candidate's own are kept
    beside the other candidates'.
    """
    if not is_range(shard):
        known = {} if stage.kind in TRAINING else candidate_metrics(stage, shard)
        return beside(stage, shard, {**known, **new})
    known = stage.metrics
    return {
        **known,
        **{name: known.get(name, 0) + value if _is_number(value) else value for name, value in new.items()},
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def fail_attempt(session: Session, shard_id: str, token: int, cause: Cause, *, retryable: bool = True) -> bool:
    """The attempt counts. At the ceiling, or where trying again cannot help, the run fails with the cause."""
    held = hold(session, shard_id, token)
    if held is None:
        return False
    fail_held(session, held, cause, retryable=retryable)
    return True


def fail_held(session: Session, held: Hold, cause: Cause, *, retryable: bool) -> None:
    """`fail_attempt`, under locks that are held."""
    run, stage, shard = held.run, held.stage, held.shard
    shard.error = cause.at(stage, shard)
    clear_obstacle(held)
    if run.cancel_requested_at is not None:
        _close(shard, ShardStatus.CANCELLED)
    elif retryable and shard.attempt < shard.max_attempts:
        emit(session, run.id, run.project_id, EventType.SHARD_ATTEMPT_FAILED, dict(shard.error))
        _requeue(session, held)
    else:
        _close(shard, ShardStatus.FAILED)
        fail(session, run, stage, cause=shard.error)
    settle(session, run)
    touch(session, run.id)


def release(
    session: Session, shard_id: str, token: int, *, cause: Cause | None = None, wait_s: float | None = None
) -> bool:
    """Interrupted is not failed: the shard waits for its next holder, and the attempt does not count.

    With a cause nobody may begin again for `wait_s` seconds (at most an hour; without it, longer each time in a row),
    since that would meet the same obstacle. When a cancel is asked for, this is the shard's end.
    """
    held = hold(session, shard_id, token)
    if held is None:
        return False
    if cause is not None:
        _note_obstacle(session, held, cause, wait_s)
    release_held(session, held)
    return True


def _note_obstacle(session: Session, held: Hold, cause: Cause, wait_s: float | None) -> None:
    """Say what the stage waits for: as an event when that is news, and as long as nothing gets done."""
    run, stage, shard = held.run, held.stage, held.shard
    if wait_s is None:
        wait_s = min(FIRST_WAIT_S * 2.0 ** min(shard.given_back, 10), LONGEST_WAIT_S)
    shard.error = cause.at(stage, shard)
    shard.given_back += 1
    now = session.scalars(select(func.now())).one()
    shard.not_before = now + timedelta(seconds=min(wait_s, LONGEST_OWN_WAIT_S))
    known = stage.waiting_for
    if known is None or known["code"] != cause.code:
        known = {"since": now.isoformat()}
        emit(session, run.id, run.project_id, EventType.SHARD_GIVEN_BACK, dict(shard.error))
    stage.waiting_for = {"code": cause.code, "detail": cause.detail, "since": known["since"]}


def release_held(session: Session, held: Hold) -> None:
    """`release`, under locks that are held."""
    held.shard.attempt -= 1
    if held.run.cancel_requested_at is not None:
        _close(held.shard, ShardStatus.CANCELLED)
    else:
        _requeue(session, held)
    settle(session, held.run)
    touch(session, held.run.id)


def pause_for(session: Session, shard_id: str, token: int, *, reason: str) -> bool:
    """Give the shard back and ask that its run be paused, for example because its budget is spent."""
    held = hold(session, shard_id, token)
    if held is None:
        return False
    if held.run.pause_requested_at is None and held.run.cancel_requested_at is None:
        note_pause(session, held.run, reason)
    release_held(session, held)
    return True


def _requeue(session: Session, held: Hold) -> None:
    """Ring for the shard, or leave that to the rescuer while it is to wait or its run is not to go on."""
    shard = held.shard
    held.stage.pace_from = None
    shard.status = ShardStatus.QUEUED
    shard.lease_expires_at = None
    session.flush()
    if shard.not_before is None and is_runnable(held.run):
        outbox.ring(session, [shard.id])


def _close(shard: Shard, status: ShardStatus) -> None:
    shard.status = status
    shard.lease_expires_at = None
    shard.finished_at = func.now()
