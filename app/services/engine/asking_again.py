"""What a retry asks again: questions that the judge's endpoint, and not the judge, left without an answer.

Only of the stage that failed: what has succeeded may already stand behind other runs.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.db.models import Purpose, Run, Stage, StageStatus
from app.repositories import scores, shards, stages, verdicts
from app.repositories.run_inputs import asked_ids
from app.rlaif.pipeline import PhaseName
from app.rlaif.recipe import StageKind
from app.services.engine.progression import phases_of

PURPOSES = {StageKind.JUDGE: (Purpose.TRAIN, Purpose.HELD_OUT), StageKind.EVALUATE: (Purpose.EVALUATION,)}


def ask_again(session: Session, run: Run) -> int:
    """Forget such verdicts of the failed stage and open its judging again; says how many. What they cost stays counted.

    A shard of the judging that lacks none of them is soon over again.
    """
    failed = next((stage for stage in stages.in_order(session, run.id) if stage.status is StageStatus.FAILED), None)
    if failed is None:
        return 0
    forgotten = _forget(session, run, failed)
    if forgotten:
        _judge_again(session, run, failed)
    return forgotten


def _forget(session: Session, run: Run, stage: Stage) -> int:
    if stage.kind is StageKind.TRAJECTORIES:
        return scores.forget_unheard_ratings(session, run.id)
    if stage.kind not in PURPOSES:
        return 0
    judge_id = run.judge_id if stage.kind is StageKind.JUDGE else run.evaluation_judge_id
    return verdicts.forget_unheard(
        session,
        run.id,
        judge_ids=asked_ids(session, judge_id),
        round_=stage.round,
        purposes=PURPOSES[stage.kind],
    )


def _judge_again(session: Session, run: Run, stage: Stage) -> None:
    names = [phase.name for phase in phases_of(session, run, stage)]
    stage.phase = names.index(PhaseName.JUDGE)
    shards.forget_behind(session, stage.id, phase=stage.phase)
    units = shards.begin_again(session, stage.id, phase=stage.phase)
    stage.total_shards, stage.done_shards = len(units), 0
    stage.total_units, stage.done_units = sum(units), 0
    session.flush()
