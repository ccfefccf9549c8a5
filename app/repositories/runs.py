"""Runs as the API reads them: one indexed statement for a run with its stages, and one for its version alone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.orm import Session, aliased

from app.db.models import (
    Event,
    Judge,
    MetricPoint,
    PromptSet,
    Run,
    RunKind,
    RunStatus,
    Stage,
    StageStatus,
)
from app.repositories.pages import Chunk, Slice, chunk
from app.rlaif.judges import RUN_A_MODEL
from app.rlaif.pipeline import Inputs
from app.rlaif.recipe import StageKind

# SQLAlchemy types a statement by its columns; here a row is read by their names.
Statement: TypeAlias = Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as it was at `now`, by the database's clock."""

    run: Run
    stages: tuple[Stage, ...]
    inputs: Inputs
    now: datetime


@dataclass(frozen=True, slots=True)
class RunMark:
    """What a poll needs to know first."""

    version: int
    status: RunStatus


def find(session: Session, project_id: str, run_id: str) -> RunRow | None:
    """The run with its stages, in one statement."""
    rows = session.execute(snapshot(project_id, run_id).execution_options(populate_existing=True)).all()
    if not rows:
        return None
    first = rows[0]
    stages = tuple(row.Stage for row in rows if row.Stage is not None)
    inputs = Inputs(
        train_prompts=first.train_count,
        held_out_prompts=first.held_out_count,
        judge_is_local=first.judge_kind in RUN_A_MODEL,
        evaluation_judge_is_local=first.evaluation_judge_kind in RUN_A_MODEL,
    )
    return RunRow(first.Run, stages, inputs, first.now)


def snapshot(project_id: str, run_id: str) -> Statement:
    """The statement behind `find`: a row a stage, everything by primary or unique key."""
    judge, evaluation_judge = aliased(Judge), aliased(Judge)
    return (
        select(
            Run,
            Stage,
            PromptSet.train_count,
            PromptSet.held_out_count,
            judge.kind.label("judge_kind"),
            evaluation_judge.kind.label("evaluation_judge_kind"),
            func.now().label("now"),
        )
        .join(PromptSet, PromptSet.id == Run.prompt_set_id)
        .outerjoin(judge, judge.id == Run.judge_id)
        .outerjoin(evaluation_judge, evaluation_judge.id == Run.evaluation_judge_id)
        .outerjoin(Stage, Stage.run_id == Run.id)
        .where(Run.id == run_id, Run.project_id == project_id)
        .order_by(Stage.round, Stage.position)
    )


def mark(session: Session, project_id: str, run_id: str) -> RunMark | None:
    """Version and status: one row by primary key."""
    query = select(Run.version, Run.status).where(Run.id == run_id, Run.project_id == project_id)
    row = session.execute(query).one_or_none()
    return None if row is None else RunMark(*row)


def get(session: Session, project_id: str, run_id: str) -> Run | None:
    return session.scalar(select(Run).where(Run.id == run_id, Run.project_id == project_id))


def locked(session: Session, project_id: str, run_id: str) -> Run | None:
    """The run, held against every other writer until the transaction ends."""
    query = select(Run).where(Run.id == run_id, Run.project_id == project_id)
    return session.scalar(query.with_for_update(key_share=True).execution_options(populate_existing=True))


def page(
    session: Session, project_id: str, slice_: Slice, *, kind: RunKind, statuses: Collection[RunStatus]
) -> Chunk[Run]:
    """Newest first."""
    query = select(Run).where(Run.project_id == project_id, Run.kind == kind)
    if statuses:
        query = query.where(Run.status.in_(statuses))
    return chunk(session, query, slice_, by=Run.id, newest_first=True)


def stages(session: Session, run_id: str) -> list[Stage]:
    """In the order in which they run."""
    return list(session.scalars(select(Stage).where(Stage.run_id == run_id).order_by(Stage.round, Stage.position)))


def sources(session: Session, run_id: str) -> dict[tuple[int, StageKind], str]:
    """By round and stage, what another run executed, and which."""
    query = select(Stage.round, Stage.kind, Stage.source_run_id).where(
        Stage.run_id == run_id, Stage.status == StageStatus.REUSED
    )
    return {(round_, kind): source for round_, kind, source in session.execute(query) if source is not None}


def events(session: Session, run_id: str, *, after: int, limit: int) -> list[Event]:
    """At most `limit` events behind the one with id `after`."""
    query = select(Event).where(Event.run_id == run_id, Event.id > after).order_by(Event.id).limit(limit)
    return list(session.scalars(query))


def metric_points(session: Session, stage_id: str, *, after: tuple[int, int], limit: int) -> list[MetricPoint]:
    """At most `limit` points of one stage behind a candidate's step, by candidate and step."""
    place = tuple_(MetricPoint.candidate, MetricPoint.step)
    query = select(MetricPoint).where(MetricPoint.stage_id == stage_id, place > after)
    return list(session.scalars(query.order_by(MetricPoint.candidate, MetricPoint.step).limit(limit)))


def thinned_metric_points(session: Session, stage_id: str, *, at_most: int) -> dict[int, list[MetricPoint]]:
    """By candidate, at most about so many points of one stage: every n-th step back from the last one."""
    candidate, step = MetricPoint.candidate, MetricPoint.step
    place = func.row_number().over(partition_by=candidate, order_by=step.desc()) - 1
    stride = (func.count().over(partition_by=candidate) + at_most - 1) // at_most
    points = select(candidate, step, (place % stride).label("rest")).where(MetricPoint.stage_id == stage_id).subquery()
    kept = select(points.c.candidate, points.c.step).where(points.c.rest == 0)
    query = select(MetricPoint).where(MetricPoint.stage_id == stage_id, tuple_(candidate, step).in_(kept))
    found: dict[int, list[MetricPoint]] = {}
    for point in session.scalars(query.order_by(candidate, step)):
        found.setdefault(point.candidate, []).append(point)
    return found
