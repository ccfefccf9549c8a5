"""Revised answers as the stages read and clients page through them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db.models import RevisedAnswer
from app.repositories.units import among
from app.rlaif.critique import Ending


@dataclass(frozen=True, slots=True)
class RevisionRow:
    """A stored step of one prompt's answer; without `text` it was criticised and is yet to be revised."""

    id: str
    prompt_id: str
    step: int
    principle: str | None
    critique: str | None
    text: str | None
    finish_reason: Ending | None


def revisions_of(session: Session, run_id: str, *, prompt_ids: Collection[str]) -> dict[str, list[RevisionRow]]:
    """The steps of some prompts, in their order, by prompt; one without any is absent."""
    columns = (
        RevisedAnswer.id,
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


def add_revised(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write what became of steps that were stored when they were criticised, by their ids."""
    if rows:
        session.execute(update(RevisedAnswer), [dict(row) for row in rows])
