"""What handlers ask for by type: the caller with a scope, a session that reads or writes, settings, the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.security import HTTPBearer
from pydantic import AfterValidator

from app.config import Settings
from app.db import session as db
from app.db.ids import Kind
from app.db.models import Scope
from app.errors import NotFound
from app.services.keys import Caller
from app.storage import ArtifactStore

_ID_LENGTH = 26
_ID_ALPHABET = frozenset("0123456789abcdefghjkmnpqrstvwxyz")  # Crockford's base32, as TypeID writes it
# Only for the OpenAPI document: bodies.StrictRoute authenticates before it reads a body.
_bearer = Depends(HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer rlaif_...`"))


async def any_caller(request: Request, _: Annotated[Any, _bearer]) -> Caller:
    caller: Caller = request.state.caller
    return caller


AnyCaller = Annotated[Caller, Depends(any_caller)]


async def reader(caller: AnyCaller) -> Caller:
    caller.require(Scope.READ)
    return caller


async def writer(caller: AnyCaller) -> Caller:
    caller.require(Scope.WRITE)
    return caller


async def admin(caller: AnyCaller) -> Caller:
    caller.require(Scope.ADMIN)
    return caller


Reader = Annotated[Caller, Depends(reader)]
Writer = Annotated[Caller, Depends(writer)]
Admin = Annotated[Caller, Depends(admin)]


def read_session(request: Request) -> Iterator[db.ReadSession]:
    with request.app.state.read_sessions() as session:
        yield db.ReadSession(session)


def write_session(request: Request) -> Iterator[db.WriteSession]:
    """Commits after the handler and before the answer: `scope="function"`; with any error, rolls back."""
    with request.app.state.sessions.begin() as session:
        yield db.WriteSession(session)


ReadSession = Annotated[db.ReadSession, Depends(read_session, scope="function")]
WriteSession = Annotated[db.WriteSession, Depends(write_session, scope="function")]


async def read_session_factory(request: Request) -> db.SessionFactory:
    sessions: db.SessionFactory = request.app.state.read_sessions
    return sessions


# For handlers that wait or stream: they open a session for each read and hold none in between.
ReadSessions = Annotated[db.SessionFactory, Depends(read_session_factory)]


async def current_settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def artifact_store(request: Request) -> ArtifactStore:
    store: ArtifactStore = request.app.state.store
    return store


NameFilter = Annotated[str | None, Query(max_length=200, description="Only the object of this name")]
CurrentSettings = Annotated[Settings, Depends(current_settings)]
Store = Annotated[ArtifactStore, Depends(artifact_store)]


def path_id(kind: Kind) -> AfterValidator:
    """For path parameters: what cannot be an id of this kind does not exist (404), like another project's id."""

    def check(value: str) -> str:
        prefix, _, suffix = value.rpartition("_")
        if prefix != kind.value or len(suffix) != _ID_LENGTH or not _ID_ALPHABET.issuperset(suffix):
            raise NotFound.of(kind.value, value[:100])
        return value

    return AfterValidator(check)
