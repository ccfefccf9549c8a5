"""Rubrics and their immutable revisions."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.models import Rubric, RubricRevision
from app.repositories.pages import Chunk, Slice, chunk


def get(session: Session, project_id: str, rubric_id: str, *, lock: bool = False) -> Rubric | None:
    """With `lock`, revisions are added one after another."""
    query = select(Rubric).where(Rubric.project_id == project_id, Rubric.id == rubric_id)
    return session.scalar(query.with_for_update() if lock else query)


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[Rubric]:
    query = select(Rubric).where(Rubric.project_id == project_id)
    if name is not None:
        query = query.where(Rubric.name == name)
    return chunk(session, query, slice_, by=Rubric.id, newest_first=True)


def latest(session: Session, rubric_ids: Sequence[str]) -> dict[str, RubricRevision]:
    """Each rubric's newest revision, by rubric id."""
    newest = (
        select(RubricRevision.rubric_id, func.max(RubricRevision.number).label("number"))
        .where(RubricRevision.rubric_id.in_(rubric_ids))
        .group_by(RubricRevision.rubric_id)
        .subquery()
    )
    query = select(RubricRevision).join(
        newest, (newest.c.rubric_id == RubricRevision.rubric_id) & (newest.c.number == RubricRevision.number)
    )
    return {revision.rubric_id: revision for revision in session.scalars(query)}


def revision(session: Session, project_id: str, rubric_id: str, number: int) -> RubricRevision | None:
    query = select(RubricRevision).where(
        RubricRevision.project_id == project_id, RubricRevision.rubric_id == rubric_id, RubricRevision.number == number
    )
    return session.scalar(query)


def same_content(session: Session, rubric_id: str, content_hash: str) -> RubricRevision | None:
    query = select(RubricRevision).where(
        RubricRevision.rubric_id == rubric_id, RubricRevision.content_hash == content_hash
    )
    return session.scalar(query)


def last_number(session: Session, rubric_id: str) -> int:
    query = select(func.coalesce(func.max(RubricRevision.number), 0)).where(RubricRevision.rubric_id == rubric_id)
    return session.scalar(query) or 0


def revisions(session: Session, project_id: str, rubric_id: str, slice_: Slice) -> Chunk[RubricRevision]:
    query = select(RubricRevision).where(RubricRevision.project_id == project_id, RubricRevision.rubric_id == rubric_id)
    return chunk(session, query, slice_, by=RubricRevision.id, newest_first=True)
