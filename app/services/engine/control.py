"""What a client may ask of a run. Each runs in the caller's transaction, and says 409 where the state forbids it."""

from __future__ import annotations

from sqlalchemy import func
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Run, RunStatus, Stage, StageStatus
from app.errors import Conflict
from app.repositories import outbox, shards, stages
from app.rlaif.recipe import Recipe, StageKind
from app.services.engine.asking_again import ask_again
from app.services.engine.hold import lock_run
from app.services.engine.notices import EventType, emit, touch
from app.services.engine.progression import open_next_stage, settle


def start_run(session: Session, run: Run) -> None:
    """Make the stages of a new run's recipe, cut the first one and ring for its shards.

    A stage that a fork reuses is there already, as a row with status REUSED and its `source_run_id`. A recipe without
    rounds has one: the first, or that of the last stage which it reuses.
    """
    session.flush()
    recipe, present = Recipe.model_validate(run.recipe), stages.in_order(session, run.id)
    reused = {(stage.round, stage.kind) for stage in present}
    last = max((stage.round for stage in present), default=0)
    for round_ in (last,) if recipe.rounds is None else range(recipe.rounds.count):
        for position, kind in enumerate(recipe.stages_of(round_)):
            if (round_, kind) not in reused:
                session.add(_stage(run, round_=round_, position=position, kind=kind))
    session.flush()
    emit(session, run.id, run.project_id, EventType.RUN_QUEUED, {})
    open_next_stage(session, run)
    touch(session, run.id)


def _stage(run: Run, *, round_: int, position: int, kind: StageKind) -> Stage:
    return Stage(
        id=new_id(Kind.STAGE), project_id=run.project_id, run_id=run.id, round=round_, position=position, kind=kind
    )


def request_cancel(session: Session, run: Run) -> None:
    """Idempotent. The run is cancelled now when no shard is running, else once each holder has stopped.

    Raises Conflict when the run has succeeded or failed.
    """
    run = lock_run(session, run.id)
    if run.status is RunStatus.CANCELLED or run.cancel_requested_at is not None:
        return
    _refuse_finished(run, "cancelled")
    run.cancel_requested_at = func.now()
    session.flush()
    emit(session, run.id, run.project_id, EventType.RUN_CANCEL_REQUESTED, {})
    settle(session, run)
    touch(session, run.id)


def request_pause(session: Session, run: Run, reason: str) -> None:
    """Idempotent. Holders give their shards back; what they did is kept.

    Raises Conflict when the run is finished or about to be cancelled.
    """
    run = lock_run(session, run.id)
    if run.pause_requested_at is not None:
        return
    _refuse_finished(run, "paused")
    if run.cancel_requested_at is not None:
        raise Conflict(f"run {run.id} is being cancelled and cannot be paused")
    note_pause(session, run, reason)
    settle(session, run)
    touch(session, run.id)


def note_pause(session: Session, run: Run, reason: str) -> None:
    """Write the wish down; under the run's lock."""
    run.pause_requested_at = func.now()
    run.pause_reason = reason[:500]
    session.flush()
    stages.rest(session, run.id)
    emit(session, run.id, run.project_id, EventType.RUN_PAUSE_REQUESTED, {"reason": run.pause_reason})


def resume(session: Session, run: Run) -> None:
    """Ring again for every queued shard. Raises Conflict unless the run is paused or about to be."""
    run = lock_run(session, run.id)
    _refuse_finished(run, "resumed")
    if run.pause_requested_at is None or run.cancel_requested_at is not None:
        state = "being cancelled" if run.cancel_requested_at is not None else run.status.value
        raise Conflict(f"run {run.id} is {state}, not paused: there is nothing to resume")
    run.pause_requested_at = None
    run.pause_reason = None
    run.status = RunStatus.QUEUED if run.started_at is None else RunStatus.RUNNING
    session.flush()
    emit(session, run.id, run.project_id, EventType.RUN_RESUMED, {})
    outbox.ring_run(session, run.id)
    touch(session, run.id)


def retry(session: Session, run: Run) -> None:
    """Go on with a failed run where it failed, with all attempts again; what succeeded stays.

    Verdicts that the failed stage lacks because of the judge's endpoint are asked for again.

    Raises Conflict unless the run has failed.
    """
    run = lock_run(session, run.id)
    if run.status is not RunStatus.FAILED:
        raise Conflict(f"run {run.id} is {run.status.value}: only a failed run can be retried")
    asked_again = ask_again(session, run)
    shards.reopen(session, run.id)
    for stage in stages.in_order(session, run.id):
        _reopen(stage)
    run.status = RunStatus.QUEUED if run.started_at is None else RunStatus.RUNNING
    run.error, run.finished_at = None, None
    run.pause_requested_at, run.pause_reason = None, None
    session.flush()
    emit(session, run.id, run.project_id, EventType.RUN_RETRIED, {"asked_again": asked_again})
    outbox.ring_run(session, run.id)
    touch(session, run.id)


def _reopen(stage: Stage) -> None:
    """A failed stage goes on; one that never began waits again."""
    if stage.status in (StageStatus.FAILED, StageStatus.CANCELLED):
        stage.status = StageStatus.RUNNING if stage.total_shards else StageStatus.PENDING
        stage.finished_at = None
        stage.waiting_for, stage.pace_from = None, None


def _refuse_finished(run: Run, verb: str) -> None:
    if run.status.terminal:
        raise Conflict(f"run {run.id} has already {_said(run.status)} and cannot be {verb}")


def _said(status: RunStatus) -> str:
    return "been cancelled" if status is RunStatus.CANCELLED else status.value
