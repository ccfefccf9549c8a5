"""Ratings of single completions, and what they say of two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.db.models import Comparison, Purpose, Score
from app.repositories.units import add_missing, among
from app.rlaif.beliefs import lean
from app.rlaif.comparison import UNHEARD, Answer, InvalidReason, Verdict
from app.rlaif.points import preferred
from app.rlaif.questions import Unit


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A stored rating; `reason` says why there are no points."""

    judge_id: str
    unit: Unit
    points: float | None
    reason: InvalidReason | None


def add_scores(session: Session, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Add those whose unit has no rating yet, and say by id which these were."""
    return add_missing(session, Score, rows)


def rated_units(session: Session, run_id: str, *, judge_id: str, completion_ids: Collection[str]) -> frozenset[Unit]:
    """What one judge has rated, INVALID or not."""
    return frozenset(
        row.unit
        for rows in scores_of(session, run_id, judge_ids=(judge_id,), completion_ids=completion_ids).values()
        for row in rows
    )


def scores_of(
    session: Session, run_id: str, *, judge_ids: Collection[str], completion_ids: Collection[str], evaluator: str = ""
) -> dict[str, list[ScoreRow]]:
    """Some judges' ratings by completion id, for one evaluator or by the run's rubric; without one it is absent."""
    query = select(
        Score.judge_id, Score.completion_id, Score.order, Score.repeat, Score.points, Score.invalid_reason
    ).where(
        Score.run_id == run_id,
        Score.judge_id.in_(judge_ids),
        among(Score.completion_id, completion_ids),
        Score.evaluator == evaluator,
    )
    found: dict[str, list[ScoreRow]] = defaultdict(list)
    for row in session.execute(query.order_by(Score.completion_id, Score.judge_id, Score.order, Score.repeat)):
        unit = Unit(row.completion_id, row.order, row.repeat)
        found[row.completion_id].append(ScoreRow(row.judge_id, unit, row.points, row.invalid_reason))
    return dict(found)


def compared_by_scores(
    session: Session, run_id: str, *, judge_ids: Collection[str], comparison_ids: Collection[str]
) -> dict[str, list[tuple[Verdict, InvalidReason | None]]]:
    """What ratings say of some comparisons, by id: each pair of ratings by one judge in one presentation is a verdict.

    Where one of the two is missing, so is the verdict. A comparison whose completions were not rated is absent.
    """
    if not comparison_ids:
        return {}
    query = select(Comparison.id, Comparison.first_id, Comparison.second_id)
    pairs = session.execute(query.where(among(Comparison.id, comparison_ids))).all()
    completions = {id_ for pair in pairs for id_ in (pair.first_id, pair.second_id)}
    rated = scores_of(session, run_id, judge_ids=judge_ids, completion_ids=completions)
    compared = ((pair.id, _compared(rated.get(pair.first_id, ()), rated.get(pair.second_id, ()))) for pair in pairs)
    return {id_: verdicts for id_, verdicts in compared if verdicts}


def _compared(first: Sequence[ScoreRow], second: Sequence[ScoreRow]) -> list[tuple[Verdict, InvalidReason | None]]:
    others = {(row.judge_id, row.unit.order, row.unit.repeat): row for row in second}
    keyed = ((row, others.get((row.judge_id, row.unit.order, row.unit.repeat))) for row in first)
    return [_verdict(row, other) for row, other in keyed if other is not None]


def _verdict(first: ScoreRow, second: ScoreRow) -> tuple[Verdict, InvalidReason | None]:
    judge_id, unit = first.judge_id, first.unit
    if first.points is None or second.points is None:
        missing = Verdict(judge_id, unit.order, Answer.INVALID, None, unit.repeat)
        return missing, first.reason or second.reason
    probability = preferred(first.points, second.points)
    return Verdict(judge_id, unit.order, lean(probability), probability, unit.repeat), None


def forget_unheard_scores(
    session: Session, run_id: str, *, judge_ids: Collection[str], round_: int, purposes: Collection[Purpose]
) -> int:
    """Delete what judges' endpoints failed to answer about compared completions, and say how many these were."""
    compared = (Comparison.run_id == run_id, Comparison.round == round_, Comparison.purpose.in_(purposes))
    asked = select(Comparison.first_id).where(*compared).union(select(Comparison.second_id).where(*compared))
    unheard = delete(Score).where(
        Score.run_id == run_id,
        Score.judge_id.in_(judge_ids),
        Score.evaluator == "",
        Score.invalid_reason.in_(UNHEARD),
        Score.completion_id.in_(asked),
    )
    gone = session.scalars(unheard.returning(Score.id).execution_options(synchronize_session=False))
    return len(gone.all())


def forget_unheard_ratings(session: Session, run_id: str) -> int:
    """The same of a run whose completions are rated by themselves alone, and not compared."""
    unheard = delete(Score).where(Score.run_id == run_id, Score.invalid_reason.in_(UNHEARD))
    return len(session.scalars(unheard.returning(Score.id).execution_options(synchronize_session=False)).all())
