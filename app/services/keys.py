"""API keys: who calls, for which project, with which scopes. A plaintext exists once, in its creation's answer."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import ApiKey, Project, Scope
from app.db.session import WriteSession
from app.errors import Forbidden, NotFound, Unauthorized
from app.repositories import keys
from app.repositories.pages import Chunk, Slice

PREFIX = "rlaif_"
_RANK = {scope: rank for rank, scope in enumerate(Scope)}


class InvalidApiKey(Unauthorized):
    """Raised when the key is missing, malformed, unknown, revoked or expired; which of these is not told."""


class ScopeMissing(Forbidden):
    """Raised when the key is valid and its scopes do not cover the operation."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: one project, by one key."""

    project_id: str
    key_id: str
    scopes: frozenset[Scope]

    def require(self, scope: Scope) -> None:
        """Raises ScopeMissing. A scope includes the ones before it: read, write, admin."""
        if not any(_RANK[held] >= _RANK[scope] for held in self.scopes):
            raise ScopeMissing(f"this operation needs the scope {scope.value!r}, which the key does not have")


@dataclass(frozen=True, slots=True)
class NewKey:
    row: ApiKey
    plaintext: str


def authenticate(session: Session, authorization: str | None) -> Caller:
    """The caller named by an `Authorization: Bearer rlaif_...` header. Raises InvalidApiKey."""
    scheme, _, plaintext = (authorization or "").partition(" ")
    key = keys.active(session, digest(plaintext)) if is_key(scheme, plaintext) else None
    if key is None:
        raise InvalidApiKey("send a valid key: `Authorization: Bearer rlaif_...`")
    return Caller(key.project_id, key.id, frozenset(Scope(scope) for scope in key.scopes))


def is_key(scheme: str, plaintext: str) -> bool:
    return scheme.lower() == "bearer" and plaintext.startswith(PREFIX) and plaintext.isascii()


def digest(plaintext: str) -> str:
    """256 random bits need no slow hash."""
    return hashlib.sha256(plaintext.encode()).hexdigest()


def create(
    session: WriteSession,
    project_id: str,
    *,
    name: str,
    scopes: Collection[Scope],
    expires_at: datetime | None = None,
) -> NewKey:
    plaintext = PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(
        id=new_id(Kind.KEY),
        project_id=project_id,
        name=name,
        digest=digest(plaintext),
        hint=f"{PREFIX}...{plaintext[-4:]}",
        scopes=[scope.value for scope in Scope if scope in scopes],
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    return NewKey(row, plaintext)


def page(session: Session, project_id: str, slice_: Slice) -> Chunk[ApiKey]:
    return keys.page(session, project_id, slice_)


def get(session: Session, project_id: str, key_id: str) -> ApiKey:
    """Raises NotFound."""
    if (row := keys.get(session, project_id, key_id)) is None:
        raise NotFound.of("key", key_id)
    return row


def revoke(session: WriteSession, project_id: str, key_id: str) -> ApiKey:
    """From the commit on the key opens nothing. Raises NotFound."""
    row = get(session, project_id, key_id)
    keys.revoke(session, row)
    return row


def bootstrap(session: WriteSession, project_name: str) -> str:
    """The plaintext of a new admin key for the project of this name, which is made if there is none."""
    project = keys.project_named(session, project_name)
    if project is None:
        project = Project(id=new_id(Kind.PROJECT), name=project_name)
        session.add(project)
        session.flush()
    return create(session, project.id, name="bootstrap", scopes=[Scope.ADMIN]).plaintext


def any_active(session: Session) -> bool:
    return keys.any_active(session)
