"""Judges."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Judge
from app.repositories.pages import Chunk, Slice, chunk


def get(session: Session, project_id: str, judge_id: str) -> Judge | None:
    return session.scalar(select(Judge).where(Judge.project_id == project_id, Judge.id == judge_id))


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[Judge]:
    query = select(Judge).where(Judge.project_id == project_id)
    if name is not None:
        query = query.where(Judge.name == name)
    return chunk(session, query, slice_, by=Judge.id, newest_first=True)
