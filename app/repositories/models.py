"""Registered models."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.db.models import Model
from app.repositories.pages import Chunk, Slice, chunk


def get(session: Session, project_id: str, model_id: str) -> Model | None:
    return session.scalar(select(Model).where(Model.project_id == project_id, Model.id == model_id))


def of_checkpoint(session: Session, checkpoint_id: str) -> Model:
    """The model that a checkpoint is."""
    return session.scalars(select(Model).where(Model.checkpoint_id == checkpoint_id)).one()


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[Model]:
    query = select(Model).where(Model.project_id == project_id)
    if name is not None:
        query = query.where(Model.name == name)
    return chunk(session, query, slice_, by=Model.id, newest_first=True)


def digests(session: Session, ids: Collection[str]) -> dict[str, str]:
    """The digest of the weights of each of these models."""
    rows = session.execute(select(Model.id, Model.digest).where(Model.id.in_(ids)))
    return {row.id: row.digest for row in rows}


def is_stored(session: Session, storage_key: str) -> bool:
    """Whether any project's model stands on these files."""
    return bool(session.scalar(select(exists().where(Model.storage_key == storage_key))))
