"""What the engine tells those who watch a run."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

from app.repositories import events


class EventType(StrEnum):
    """Every kind of event of a run."""

    RUN_QUEUED = "run.queued"
    RUN_STARTED = "run.started"
    RUN_CANCEL_REQUESTED = "run.cancel_requested"
    RUN_PAUSE_REQUESTED = "run.pause_requested"
    RUN_PAUSED = "run.paused"
    RUN_RESUMED = "run.resumed"
    RUN_RETRIED = "run.retried"
    RUN_SUCCEEDED = "run.succeeded"
    RUN_FAILED = "run.failed"
    RUN_CANCELLED = "run.cancelled"
    STAGE_STARTED = "stage.started"
    STAGE_SUCCEEDED = "stage.succeeded"
    ROUNDS_STOPPED = "rounds.stopped"
    SWEEP_SELECTED = "sweep.selected"
    CHECKPOINT_PROMOTED = "checkpoint.promoted"
    CHECKPOINT_HELD_BACK = "checkpoint.held_back"
    SHARD_ATTEMPT_FAILED = "shard.attempt_failed"
    SHARD_GIVEN_BACK = "shard.given_back"
    HEALTH_ALARM = "health.alarm"


def emit(session: Session, run_id: str, project_id: str, type_: str, data: dict[str, Any]) -> None:
    """Record an event; listeners hear of it when the transaction commits."""
    events.add(session, run_id, project_id, type_, data)


def touch(session: Session, run_id: str) -> None:
    """Make a change of the run visible to polls and listeners."""
    events.touch(session, run_id)
