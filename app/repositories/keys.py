"""Projects and API keys."""

from __future__ import annotations

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from app.db.models import ApiKey, Project
from app.repositories.pages import Chunk, Slice, chunk


def active(session: Session, digest: str) -> ApiKey | None:
    """The key with this digest, unless it is revoked or past its time by the database's clock."""
    return session.scalar(_active().where(ApiKey.digest == digest))


def any_active(session: Session) -> bool:
    return session.scalar(select(_active().exists())) or False


def get(session: Session, project_id: str, key_id: str) -> ApiKey | None:
    return session.scalar(select(ApiKey).where(ApiKey.project_id == project_id, ApiKey.id == key_id))


def page(session: Session, project_id: str, slice_: Slice) -> Chunk[ApiKey]:
    return chunk(
        session, select(ApiKey).where(ApiKey.project_id == project_id), slice_, by=ApiKey.id, newest_first=True
    )


def revoke(session: Session, key: ApiKey) -> None:
    """Revoking again keeps the first moment."""
    key.revoked_at = func.coalesce(ApiKey.revoked_at, func.now())
    session.flush()
    session.refresh(key)


def project_named(session: Session, name: str) -> Project | None:
    return session.scalar(select(Project).where(Project.name == name))


def _active() -> Select[ApiKey]:
    return select(ApiKey).where(
        ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())
    )
