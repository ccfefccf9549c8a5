"""Comparisons as the stages read them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Comparison, Purpose
from app.repositories.units import among


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    id: str
    prompt_id: str
    purpose: Purpose
    first_id: str
    second_id: str
    principle: str | None


def comparisons_of(
    session: Session, run_id: str, *, round_: int, purposes: Collection[Purpose], prompt_ids: Collection[str]
) -> list[ComparisonRow]:
    """The comparisons of some prompts, in the order in which they were made."""
    query = select(
        Comparison.id,
        Comparison.prompt_id,
        Comparison.purpose,
        Comparison.first_id,
        Comparison.second_id,
        Comparison.principle,
    ).where(
        Comparison.run_id == run_id,
        Comparison.round == round_,
        Comparison.purpose.in_(purposes),
        among(Comparison.prompt_id, prompt_ids),
    )
    return [ComparisonRow(*row) for row in session.execute(query.order_by(Comparison.id))]
