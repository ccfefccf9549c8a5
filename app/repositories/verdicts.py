"""Verdicts as the stages read them, and what they cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.db.models import Comparison, Purpose, Stage, Verdict
from app.repositories.scores import compared_by_scores, forget_unheard_scores
from app.repositories.units import add_missing, among
from app.rlaif.comparison import UNHEARD, InvalidReason
from app.rlaif.comparison import Verdict as Answered
from app.rlaif.questions import Unit


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """A stored verdict and, where it is INVALID, why."""

    answered: Answered
    invalid_reason: InvalidReason | None


@dataclass(frozen=True, slots=True)
class Spending:
    """What some verdicts cost."""

    usd: Decimal
    calls: int
    prompt_tokens: int
    completion_tokens: int
    answers: int
    cached_answers: int
    saved_usd: Decimal


def verdicts_of(
    session: Session, run_id: str, *, judge_ids: Collection[str], comparison_ids: Collection[str]
) -> dict[str, list[VerdictRow]]:
    """Some judges' verdicts by comparison id; a comparison without one is absent.

    Where judges rated completions one by one, the verdicts are what two ratings say of the better one.
    """
    query = select(Verdict).where(
        Verdict.run_id == run_id, Verdict.judge_id.in_(judge_ids), among(Verdict.comparison_id, comparison_ids)
    )
    found: dict[str, list[VerdictRow]] = defaultdict(list)
    for row in session.scalars(query.order_by(Verdict.comparison_id, Verdict.judge_id, Verdict.order, Verdict.repeat)):
        answered = Answered(row.judge_id, row.order, row.answer, row.probability, row.repeat, row.criterion, row.weight)
        found[row.comparison_id].append(VerdictRow(answered, row.invalid_reason))
    rated = compared_by_scores(
        session, run_id, judge_ids=judge_ids, comparison_ids=[id_ for id_ in comparison_ids if id_ not in found]
    )
    return dict(found) | {id_: [VerdictRow(*row) for row in rows] for id_, rows in rated.items()}


def add_verdicts(session: Session, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Add those whose unit has no verdict yet, and say by id which these were."""
    return add_missing(session, Verdict, rows)


def add_spending(session: Session, stage_id: str, spending: Spending) -> None:
    """Add to the stage's totals, in the transaction that stores the verdicts."""
    session.execute(
        update(Stage)
        .where(Stage.id == stage_id)
        .values(
            judge_usd=Stage.judge_usd + spending.usd,
            judge_calls=Stage.judge_calls + spending.calls,
            prompt_tokens=Stage.prompt_tokens + spending.prompt_tokens,
            completion_tokens=Stage.completion_tokens + spending.completion_tokens,
            answers=Stage.answers + spending.answers,
            cached_answers=Stage.cached_answers + spending.cached_answers,
            saved_usd=Stage.saved_usd + spending.saved_usd,
        )
        .execution_options(synchronize_session=False)
    )


def forget_unheard(
    session: Session, run_id: str, *, judge_ids: Collection[str], round_: int, purposes: Collection[Purpose]
) -> int:
    """Delete what judges' endpoints failed to answer about some comparisons, and say how many answers these were."""
    asked = select(Comparison.id).where(
        Comparison.run_id == run_id, Comparison.round == round_, Comparison.purpose.in_(purposes)
    )
    unheard = delete(Verdict).where(
        Verdict.run_id == run_id,
        Verdict.judge_id.in_(judge_ids),
        Verdict.invalid_reason.in_(UNHEARD),
        Verdict.comparison_id.in_(asked),
    )
    gone = session.scalars(unheard.returning(Verdict.id).execution_options(synchronize_session=False))
    return len(gone.all()) + forget_unheard_scores(
        session, run_id, judge_ids=judge_ids, round_=round_, purposes=purposes
    )


def judge_usd_spent(session: Session, run_id: str) -> Decimal:
    """What a run has paid its judges so far, in all stages."""
    total = session.scalar(select(func.coalesce(func.sum(Stage.judge_usd), 0)).where(Stage.run_id == run_id))
    return Decimal(total or 0)


def answered_units(session: Session, run_id: str, *, judge_id: str, comparison_ids: Collection[str]) -> frozenset[Unit]:
    """What one judge has answered, INVALID or not."""
    query = select(Verdict.comparison_id, Verdict.order, Verdict.repeat, Verdict.criterion).where(
        Verdict.run_id == run_id, Verdict.judge_id == judge_id, among(Verdict.comparison_id, comparison_ids)
    )
    return frozenset(Unit(*row) for row in session.execute(query))
