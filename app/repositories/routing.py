"""What judges said of a run's comparisons, as routing reads it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import groupby

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.orm import Session

from app.db.models import AnnotationItem, Comparison, Purpose, Verdict
from app.repositories.results import Provenance
from app.repositories.units import among
from app.rlaif.comparison import Answer
from app.rlaif.recipe import StageKind
from app.rlaif.routing import JudgedComparison


def judged_comparisons(
    session: Session, provenance: Provenance, *, purposes: Collection[Purpose], without_queue: str
) -> Iterator[JudgedComparison]:
    """The comparisons with a valid verdict that the queue does not hold, by id; the mean of each judge's repeats.

    Of a run that reuses its judging, those of the run that judged.
    """
    held = select(AnnotationItem.comparison_id).where(
        AnnotationItem.queue_id == without_queue, AnnotationItem.comparison_id == Comparison.id
    )
    probability = func.avg(case((Verdict.answer == Answer.TIE, 0.5), else_=Verdict.probability))
    key = (Verdict.comparison_id, Verdict.judge_id, Verdict.order)
    query = (
        select(*key, probability)
        .join(Comparison, Comparison.id == Verdict.comparison_id)
        .where(
            or_(
                and_(Verdict.run_id == provenance.executor(StageKind.JUDGE), Comparison.purpose != Purpose.EVALUATION),
                and_(Verdict.run_id == provenance.run_id, Comparison.purpose == Purpose.EVALUATION),
            ),
            Comparison.purpose.in_(purposes),
            Verdict.probability.is_not(None),
            ~held.exists(),
        )
        .group_by(*key)
        .order_by(*key)
    )
    rows = session.execute(query)
    for comparison_id, of_comparison in groupby(rows, key=lambda row: row[0]):
        by_judge = groupby(of_comparison, key=lambda row: row[1])
        yield JudgedComparison(comparison_id, {judge: [row[3] for row in given] for judge, given in by_judge})


def prompt_ids(session: Session, comparison_ids: Collection[str]) -> dict[str, str]:
    """By comparison id."""
    query = select(Comparison.id, Comparison.prompt_id).where(among(Comparison.id, comparison_ids))
    return {row.id: row.prompt_id for row in session.execute(query)}
