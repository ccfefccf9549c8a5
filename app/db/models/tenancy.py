"""Projects, their keys and secrets, and the stored answers that make retries safe."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import ForeignKey, Index, LargeBinary, SmallInteger, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Id, Json, Long, Moment, Ref


class Scope(StrEnum):
    """What a key may do. Each scope includes the ones before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


class Project(Base):
    """The tenant. Every other row belongs to exactly one."""

    __tablename__ = "projects"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(200), unique=True)
    created_at: Mapped[CreatedAt]


class ApiKey(Base):
    """A key, of which only the SHA-256 digest is kept: 256 random bits need no slow hash."""

    __tablename__ = "api_keys"

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    hint: Mapped[str] = mapped_column(String(16))
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String(16)))
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[Moment | None]
    revoked_at: Mapped[Moment | None]


class Secret(Base):
    """A judge's API key: write-only, encrypted, and bound to the host it may be sent to."""

    __tablename__ = "secrets"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    host: Mapped[str] = mapped_column(String(300))
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[CreatedAt]


class IdempotencyKey(Base):
    """The first answer to a keyed POST, written in the transaction that did the work."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"),)

    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    operation: Mapped[str] = mapped_column(String(300))
    request_digest: Mapped[str] = mapped_column(String(64))
    status: Mapped[int] = mapped_column(SmallInteger)
    headers: Mapped[Json]
    body: Mapped[Long]
    created_at: Mapped[CreatedAt]
