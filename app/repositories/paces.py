"""How fast a project's past runs went: the only ground that an estimate of time stands on."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.db.models import PromptSet, Run, Stage, StageStatus, Verdict
from app.rlaif.recipe import Recipe, StageKind

_RUNS_LOOKED_AT = 3
_VERDICTS_LOOKED_AT = 2000


@dataclass(frozen=True, slots=True)
class PastStage:
    """The newest stage of its kind that has succeeded with one base model."""

    run_id: str
    seconds: float
    recipe: Recipe
    train_prompts: int
    held_out_prompts: int


@dataclass(frozen=True, slots=True)
class PastJudging:
    """What a judge's past calls took; None where it has made none. Those that stored replies answered do not count."""

    seconds_a_call: float | None
    latency_s: float | None
    completion_tokens: float | None


def past_stage(session: Session, project_id: str, kind: StageKind, *, base_model_id: str) -> PastStage | None:
    query = (
        select(Run.id, Stage.compute_seconds, Run.recipe, PromptSet.train_count, PromptSet.held_out_count)
        .join(Stage, Stage.run_id == Run.id)
        .join(PromptSet, PromptSet.id == Run.prompt_set_id)
        .where(Run.project_id == project_id, Run.base_model_id == base_model_id)
        .where(Stage.kind == kind, Stage.status == StageStatus.SUCCEEDED, Stage.compute_seconds > 0)
        .order_by(Run.id.desc())
        .limit(1)
    )
    row = session.execute(query).one_or_none()
    return None if row is None else PastStage(row[0], row[1], Recipe.model_validate(row[2]), row[3], row[4])


def past_judging(session: Session, project_id: str, judge_id: str) -> PastJudging:
    used = or_(Run.judge_id == judge_id, Run.evaluation_judge_id == judge_id)
    latest = select(Run.id).where(Run.project_id == project_id, used).order_by(Run.id.desc()).limit(_RUNS_LOOKED_AT)
    run_ids = list(session.scalars(latest))
    paced = select(func.sum(Stage.compute_seconds) / func.nullif(func.sum(Stage.judge_calls), 0)).join(
        Run, Run.id == Stage.run_id
    )
    seconds = session.scalar(
        paced.where(Run.id.in_(run_ids), Run.judge_id == judge_id, Stage.kind == StageKind.JUDGE, Stage.judge_calls > 0)
    )
    some = (
        select(Verdict.latency_s, Verdict.completion_tokens)
        .where(Verdict.run_id.in_(run_ids), Verdict.judge_id == judge_id, Verdict.cached.is_(False))
        .limit(_VERDICTS_LOOKED_AT)
        .subquery()
    )
    row = session.execute(select(func.avg(some.c.latency_s), func.avg(some.c.completion_tokens))).one()
    return PastJudging(
        seconds_a_call=None if seconds is None else float(seconds),
        latency_s=float(row[0]) if row[0] else None,
        completion_tokens=None if row[1] is None else float(row[1]),
    )
