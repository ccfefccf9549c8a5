"""The first key of a service: it cannot come from the API, which needs a key, so it is written to the database."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.orm import Session

from app.config import Settings
from app.db.session import WriteSession, make_engine, make_session_factory
from app.services import keys
from cli.private_file import write_private


def bootstrap(settings: Settings, project: str) -> str:
    """The plaintext of a new admin key of the project, which is made if there is none of this name."""
    engine = make_engine(settings, pool_size=1)
    try:
        with make_session_factory(engine).begin() as session:
            return keys.bootstrap(WriteSession(session), project)
    finally:
        engine.dispose()


def kept_key(settings: Settings, path: Path) -> str:
    """The admin key kept in a private file; a new one when there is none or the database does not accept it."""
    key = path.read_text().strip() if path.exists() else ""
    if not _opens(settings, key):
        key = bootstrap(settings, "default")
        write_private(path, key)
    return key


def _opens(settings: Settings, key: str) -> bool:
    engine = make_engine(settings, pool_size=1)
    try:
        with Session(engine) as session:
            keys.authenticate(session, f"Bearer {key}")
    except keys.InvalidApiKey:
        return False
    finally:
        engine.dispose()
    return True
