"""Revised answers as the stages read and clients page through them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import RevisedAnswer
from app.repositories.units import among
from app.rlaif.critique import Ending


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """A stored step of one prompt's answer."""

    prompt_id: str
    step: int
    principle: str | None
    critique: str | None
    text: str
    finish_reason: Ending


def revisions_of(session: Session, run_id: str, *, prompt_ids: Collection[str]) -> dict[str, list[RevisionRow]]:
    """The steps of some prompts, in their order, by prompt; one without any is absent."""
    columns = (
        RevisedAnswer.prompt_id,
        RevisedAnswer.step,
        RevisedAnswer.principle,
        RevisedAnswer.critique,
        RevisedAnswer.text,
        RevisedAnswer.finish_reason,
    )
    query = select(*columns).where(RevisedAnswer.run_id == run_id, among(RevisedAnswer.prompt_id, prompt_ids))
    found: dict[str, list[RevisionRow]] = {}
    for row in session.execute(query.order_by(RevisedAnswer.prompt_id, RevisedAnswer.step)):
        found.setdefault(row.prompt_id, []).append(RevisionRow(*row))
    return found
