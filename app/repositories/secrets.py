"""Stored secrets. The ciphertext never leaves the services."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Secret
from app.repositories.pages import Chunk, Slice, chunk


def get(session: Session, project_id: str, secret_id: str) -> Secret | None:
    return session.scalar(select(Secret).where(Secret.project_id == project_id, Secret.id == secret_id))


def named(session: Session, project_id: str, name: str) -> Secret | None:
    return session.scalar(select(Secret).where(Secret.project_id == project_id, Secret.name == name))


def page(session: Session, project_id: str, slice_: Slice) -> Chunk[Secret]:
    query = select(Secret).where(Secret.project_id == project_id)
    return chunk(session, query, slice_, by=Secret.id, newest_first=True)


def delete(session: Session, secret: Secret) -> None:
    session.delete(secret)
    session.flush()
