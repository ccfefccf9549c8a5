"""How a run goes on: phases and stages are opened in order, and the last one's end is the run's.

Every function here is called under the run's lock, so exactly one finisher is the last.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Judge, PromptSet, Run, RunStatus, Shard, Stage, StageStatus
from app.repositories import outbox, shards, stages
from app.repositories.run_inputs import asked_ids
from app.rlaif.judges import RUN_A_MODEL
from app.rlaif.pipeline import Inputs, Phase, ShardPlan, phases, plan
from app.rlaif.recipe import Recipe
from app.services.engine.hold import is_runnable
from app.services.engine.notices import EventType, emit, touch
from app.services.engine.rounds import end_round

FINISHED = (StageStatus.SUCCEEDED, StageStatus.REUSED, StageStatus.SKIPPED)


def planning_inputs(session: Session, run: Run) -> Inputs:
    """What cutting a run into shards needs beside its recipe."""
    prompts = session.get_one(PromptSet, run.prompt_set_id)
    return Inputs(
        train_prompts=prompts.train_count,
        held_out_prompts=prompts.held_out_count,
        judge_is_local=_is_local(session, run.judge_id),
        evaluation_judge_is_local=any(_is_local(session, judge_id) for judge_id in _evaluating(run)),
    )


def _evaluating(run: Run) -> list[str | None]:
    """The evaluation judge, and those that the recipe's evaluators name beside it."""
    evaluators = Recipe.model_validate(run.recipe).evaluate.evaluators or ()
    return [run.evaluation_judge_id, *(config.judge for config in evaluators if config.judge is not None)]


def _is_local(session: Session, judge_id: str | None) -> bool:
    """Whether any of those who are asked runs a model."""
    return any(session.get_one(Judge, id_).kind in RUN_A_MODEL for id_ in asked_ids(session, judge_id))


def phases_of(session: Session, run: Run, stage: Stage) -> tuple[Phase, ...]:
    return phases(stage.kind, Recipe.model_validate(run.recipe), planning_inputs(session, run))


def open_next_stage(session: Session, run: Run) -> None:
    """Open the first stage that is not finished; where none is left, the run has succeeded."""
    for stage in stages.in_order(session, run.id):
        if stage.status in FINISHED:
            continue
        if open_phase(session, run, stage, first=0):
            return
        _close(session, run, stage)
    finish(session, run, RunStatus.SUCCEEDED)


def advance(session: Session, run: Run, stage: Stage) -> None:
    """After the last shard of a phase: its next phase, or the next stage."""
    if not open_phase(session, run, stage, first=stage.phase + 1):
        _close(session, run, stage)
        open_next_stage(session, run)


def open_phase(session: Session, run: Run, stage: Stage, *, first: int) -> bool:
    """Cut the stage's next phase that has any shards, from index `first` on; False when there is none."""
    recipe, inputs = Recipe.model_validate(run.recipe), planning_inputs(session, run)
    for index, phase in enumerate(phases(stage.kind, recipe, inputs)[first:], start=first):
        plans = plan(stage.kind, phase.name, recipe, inputs)
        if plans:
            _cut(session, run, stage, index=index, phase=phase, plans=plans, max_attempts=recipe.max_attempts)
            return True
    return False


def _cut(
    session: Session,
    run: Run,
    stage: Stage,
    *,
    index: int,
    phase: Phase,
    plans: Sequence[ShardPlan],
    max_attempts: int,
) -> None:
    rows = [
        Shard(
            id=new_id(Kind.SHARD),
            project_id=run.project_id,
            run_id=run.id,
            stage_id=stage.id,
            phase=index,
            position=shard.position,
            queue=phase.queue.value,
            payload=shard.payload,
            max_attempts=max_attempts,
            total_units=shard.units,
        )
        for shard in plans
    ]
    session.add_all(rows)
    stage.status = StageStatus.RUNNING
    stage.phase = index
    stage.total_shards, stage.done_shards = len(rows), 0
    stage.total_units, stage.done_units = sum(shard.units for shard in plans), 0
    stage.pace_from = None
    session.flush()
    if is_runnable(run):
        outbox.ring(session, [row.id for row in rows])


def _close(session: Session, run: Run, stage: Stage) -> None:
    stage.status = StageStatus.SUCCEEDED
    stage.finished_at = func.now()
    emit(session, run.id, run.project_id, EventType.STAGE_SUCCEEDED, {"stage": stage.kind.value, "round": stage.round})
    end_round(session, run, stage)


def settle(session: Session, run: Run) -> None:
    """Once no shard is running, a wish to cancel or to pause is fulfilled."""
    session.flush()
    if run.status.terminal:
        return
    if run.cancel_requested_at is not None:
        shards.cancel_queued(session, run.id)
    elif run.pause_requested_at is None or run.status is RunStatus.PAUSED:
        return
    if shards.any_running(session, run.id):
        return
    if run.cancel_requested_at is not None:
        finish(session, run, RunStatus.CANCELLED)
    else:
        run.status = RunStatus.PAUSED
        session.flush()
        emit(session, run.id, run.project_id, EventType.RUN_PAUSED, {"reason": run.pause_reason})


def fail(session: Session, run: Run, stage: Stage, *, cause: dict[str, object]) -> None:
    """End the run with the cause. Shards of it that still run elsewhere lose their lease."""
    stage.status = StageStatus.FAILED
    stage.finished_at = func.now()
    run.error = cause
    session.flush()
    finish(session, run, RunStatus.FAILED)


_ENDS = {
    RunStatus.SUCCEEDED: EventType.RUN_SUCCEEDED,
    RunStatus.FAILED: EventType.RUN_FAILED,
    RunStatus.CANCELLED: EventType.RUN_CANCELLED,
}


def finish(session: Session, run: Run, status: RunStatus) -> None:
    """Terminal: nothing of the run is open any more."""
    shards.cancel_open(session, run.id)
    stages.close_open(session, run.id)
    run.status = status
    run.finished_at = func.clock_timestamp()  # not now(): this transaction may have begun before others' last writes
    session.flush()
    emit(session, run.id, run.project_id, _ENDS[status], {"error": run.error} if run.error else {})
    touch(session, run.id)
