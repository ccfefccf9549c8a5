"""The holder's side of a shard: claim it, keep it, report from it. Time is the database's alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import Session

from app.db.models import Run, RunStatus, Shard, Stage
from app.repositories import shards, stages
from app.repositories.shards import Wishes
from app.rlaif.pipeline import CANDIDATE, CANDIDATES, PhaseName
from app.rlaif.recipe import Recipe, StageKind
from app.services.engine.control import note_pause
from app.services.engine.hold import Hold, hold, is_runnable, lock_run
from app.services.engine.notices import EventType, emit, touch
from app.services.engine.progression import phases_of

TRAINING = (StageKind.WARM_START, StageKind.REWARD_MODEL, StageKind.POLICY)


class Wish(StrEnum):
    """What a holder is told at each heartbeat. `lost`: the shard is another's, or its run has ended."""

    CONTINUE = "continue"
    CANCEL = "cancel"
    PAUSE = "pause"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Claim:
    """A shard and all that its holder needs to know."""

    shard_id: str
    run_id: str
    project_id: str
    stage_id: str
    round: int
    kind: StageKind
    phase: PhaseName
    position: int
    payload: dict[str, Any]
    token: int
    attempt: int
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Report:
    """How far a shard is, in its own steps."""

    step: int
    total: int
    metrics: Mapping[str, float | None] = field(default_factory=dict)


def claim(session: Session, shard_id: str, *, worker: str, lease_s: float) -> Claim | None:
    """Take the shard if it is free and its run wants work; None otherwise, and then a doorbell means nothing."""
    run_id = shards.run_of(session, shard_id)
    if run_id is None:
        return None
    run = lock_run(session, run_id)
    if not is_runnable(run):
        return None
    shard = shards.claim(session, shard_id, worker=worker, lease_s=lease_s)
    if shard is None:
        return None
    stage = stages.locked(session, shard.stage_id)
    _note_start(session, run, stage)
    keep_pace(stage)
    touch(session, run.id)
    return _claim(session, run, stage, shard)


def _claim(session: Session, run: Run, stage: Stage, shard: Shard) -> Claim:
    return Claim(
        shard_id=shard.id,
        run_id=run.id,
        project_id=run.project_id,
        stage_id=stage.id,
        round=stage.round,
        kind=stage.kind,
        phase=phases_of(session, run, stage)[shard.phase].name,
        position=shard.position,
        payload=shard.payload,
        token=shard.lease_token,
        attempt=shard.attempt,
        recipe=Recipe.model_validate(run.recipe),
    )


def _note_start(session: Session, run: Run, stage: Stage) -> None:
    if run.status is RunStatus.QUEUED:
        run.status = RunStatus.RUNNING
        run.started_at = func.now()
        session.flush()
        emit(session, run.id, run.project_id, EventType.RUN_STARTED, {})
    if stage.started_at is None:
        stage.started_at = func.now()
        session.flush()
        data = {"stage": stage.kind.value, "round": stage.round}
        emit(session, run.id, run.project_id, EventType.STAGE_STARTED, data)


def renew(session: Session, shard_id: str, token: int, *, lease_s: float) -> Wish:
    """Lengthen the lease; one statement that waits for no one."""
    return _wish(shards.renew(session, shard_id, token, lease_s=lease_s))


def wish(session: Session, shard_id: str, token: int) -> Wish:
    """What `renew` would answer; reads only."""
    return _wish(shards.wishes(session, shard_id, token))


def _wish(wishes: Wishes | None) -> Wish:
    if wishes is None or wishes.run_status.terminal:
        return Wish.LOST
    if wishes.cancel:
        return Wish.CANCEL
    return Wish.PAUSE if wishes.pause else Wish.CONTINUE


def holds(session: Session, shard_id: str, token: int) -> bool:
    """The fence: whether the token is current. If so, nobody takes the shard over before this transaction ends."""
    return shards.is_held(session, shard_id, token)


def record(session: Session, shard_id: str, token: int, *, reports: Sequence[Report], seconds: float) -> bool:
    """Fold what a holder did since its last heartbeat into its shard and stage; False when the token is stale.

    `seconds` of work are charged; fewer than none where earlier ones turn out to have been waiting. Reaching the
    recipe's budget of compute seconds asks for a pause.
    """
    held = hold(session, shard_id, token, beside_fence=True)
    if held is None:
        return False
    held.stage.compute_seconds = Stage.compute_seconds + seconds
    if reports:
        _fold(session, held, reports)
    session.flush()
    _mind_budget(session, held.run)
    touch(session, held.run.id)
    return True


def _fold(session: Session, held: Hold, reports: Sequence[Report]) -> None:
    stage, shard, last = held.stage, held.shard, reports[-1]
    clear_obstacle(held)
    metrics = _finite(last.metrics)
    shard.progress = {"step": last.step, "total": last.total, "metrics": metrics}
    count_units(held, done=_units(shard, last), total=shard.total_units if is_range(shard) else max(last.total, 1))
    if is_runnable(held.run):
        keep_pace(stage)
    if is_range(shard):
        return
    stage.metrics = beside(stage, shard, candidate_metrics(stage, shard) | metrics)
    if stage.kind in TRAINING:
        points = [(report.step, _finite(report.metrics)) for report in reports]
        stages.save_points(session, stage, points, candidate=shard.payload.get(CANDIDATE, 0))


def is_range(shard: Shard) -> bool:
    """Whether the shard is a range of prompts, and not the whole of a stage or of a candidate of it."""
    return "split" in shard.payload


def candidate_metrics(stage: Stage, shard: Shard) -> dict[str, Any]:
    """What is known of the stage, or of the candidate of it that the shard works on."""
    if (candidate := shard.payload.get(CANDIDATE)) is None:
        return stage.metrics
    known: dict[str, Any] = stage.metrics.get(CANDIDATES, {}).get(str(candidate), {})
    return known


def beside(stage: Stage, shard: Shard, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The stage's metrics once these take the place of `candidate_metrics`."""
    if (candidate := shard.payload.get(CANDIDATE)) is None:
        return dict(metrics)
    known = stage.metrics.get(CANDIDATES, {})
    return {**stage.metrics, CANDIDATES: {**known, str(candidate): dict(metrics)}}


def _units(shard: Shard, report: Report) -> int:
    """A shard that is its whole phase counts its own steps; a range of prompts counts prompts."""
    if not is_range(shard):
        return report.step
    return min(shard.total_units, shard.total_units * report.step // max(report.total, 1))


def count_units(held: Hold, *, done: int, total: int) -> None:
    """Set a shard's counts and carry the difference over to its stage."""
    held.stage.done_units += done - held.shard.done_units
    held.stage.total_units += total - held.shard.total_units
    held.shard.done_units, held.shard.total_units = done, total


def keep_pace(stage: Stage) -> None:
    """Measure the pace from now on, unless that is done already and nothing was lost since."""
    if stage.pace_from is None or stage.done_units < stage.pace_units:
        stage.pace_from, stage.pace_units = func.now(), stage.done_units


def clear_obstacle(held: Hold) -> None:
    """Something got done: whatever the stage waited for is there again."""
    held.stage.waiting_for = None
    held.shard.given_back = 0


def _finite(metrics: Mapping[str, float | None]) -> dict[str, float | None]:
    """JSON has no NaN: what is not finite is shown as null."""
    return {name: value if value is not None and math.isfinite(value) else None for name, value in metrics.items()}


def _mind_budget(session: Session, run: Run) -> None:
    limit = Recipe.model_validate(run.recipe).budget.compute_seconds
    if limit is None or run.pause_requested_at is not None or run.cancel_requested_at is not None:
        return
    spent = stages.compute_seconds(session, run.id)
    if spent >= limit:
        note_pause(session, run, f"budget.compute_seconds {limit:g} is reached: {spent:.1f} s were spent")
