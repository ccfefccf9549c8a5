"""Stages and the steps that training reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import cast, func, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session

from app.db.models import MetricPoint, Stage, StageStatus


def in_order(session: Session, run_id: str) -> list[Stage]:
    """Every stage of a run, as it is now, in the order in which they run."""
    query = select(Stage).where(Stage.run_id == run_id).order_by(Stage.round, Stage.position)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def locked(session: Session, stage_id: str) -> Stage:
    """The stage as it is now, held against other writers."""
    query = select(Stage).where(Stage.id == stage_id).with_for_update(key_share=True)
    return session.scalars(query.execution_options(populate_existing=True)).one()


def close_open(session: Session, run_id: str) -> None:
    """What has not finished is cancelled with its run."""
    session.execute(
        update(Stage)
        .where(Stage.run_id == run_id, Stage.status.in_((StageStatus.PENDING, StageStatus.RUNNING)))
        .values(status=StageStatus.CANCELLED, finished_at=func.now())
        .execution_options(synchronize_session=False)
    )


def skip_pending(session: Session, run_id: str) -> None:
    """What no round comes to any more never runs."""
    session.flush()
    session.execute(
        update(Stage)
        .where(Stage.run_id == run_id, Stage.status == StageStatus.PENDING)
        .values(status=StageStatus.SKIPPED, finished_at=func.now())
        .execution_options(synchronize_session=False)
    )


def rest(session: Session, run_id: str) -> None:
    """Nobody is to work on these stages for a while: that is no part of their pace."""
    session.execute(
        update(Stage)
        .where(Stage.run_id == run_id, Stage.pace_from.is_not(None))
        .values(pace_from=None)
        .execution_options(synchronize_session=False)
    )


def compute_seconds(session: Session, run_id: str) -> float:
    """Seconds of work that every stage of a run has cost so far."""
    query = select(func.coalesce(func.sum(Stage.compute_seconds), 0.0)).where(Stage.run_id == run_id)
    return float(session.scalar(query) or 0.0)


def note_price(session: Session, stage_id: str, judge_id: str, price: Mapping[str, Any] | None) -> None:
    """Keep what a judge's tokens cost, null where nobody knows; written once, and again where it has changed."""
    known = func.coalesce(Stage.prices, cast({}, JSONB))
    unwritten = ~known.has_key(judge_id) | known[judge_id].is_distinct_from(cast(price, JSONB))
    session.execute(
        update(Stage)
        .where(Stage.id == stage_id, unwritten)
        .values(prices=known.op("||")(func.jsonb_build_object(judge_id, cast(price, JSONB))))
        .execution_options(synchronize_session=False)
    )


def keep_metrics(session: Session, stage_id: str, figures: Mapping[str, Any]) -> None:
    """What a stage has measured before it has ended, beside what it reported so far."""
    session.execute(
        update(Stage)
        .where(Stage.id == stage_id)
        .values(metrics=Stage.metrics.op("||")(cast(dict(figures), JSONB)))
        .execution_options(synchronize_session=False)
    )


def save_points(
    session: Session, stage: Stage, points: Sequence[tuple[int, Mapping[str, Any]]], *, candidate: int
) -> None:
    """Each step's metrics; a step that a resumed training repeats overwrites itself."""
    latest = dict(points)
    if not latest:
        return
    rows = [
        {"stage_id": stage.id, "candidate": candidate, "run_id": stage.run_id, "step": step, "data": dict(data)}
        for step, data in latest.items()
    ]
    added = insert(MetricPoint).values(rows)
    session.execute(
        added.on_conflict_do_update(
            index_elements=["stage_id", "candidate", "step"], set_={"data": added.excluded.data}
        )
    )
