"""Runs migrations under an advisory lock, with lock and statement timeouts, so that two starters never collide."""

from __future__ import annotations

from typing import Literal

from alembic import context
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

import app.db.models  # noqa: F401  the tables must be known before they are compared
from app.config import Settings
from app.db.base import Base, StorableText

ADVISORY_LOCK = 0x524C4149  # "RLAI"


def _url() -> str:
    return context.config.get_main_option("sqlalchemy.url") or Settings().database_url


def _render(kind: str, item: object, _: object) -> str | Literal[False]:
    """Our own column types are written as what they are in SQL, so that migrations never import the application."""
    return "sa.Text()" if kind == "type" and isinstance(item, StorableText) else False


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True, render_item=_render)
    with context.begin_transaction():
        connection.execute(text("SET LOCAL lock_timeout = '30s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        context.run_migrations()


def run() -> None:
    """Offline mode (printing SQL) is not offered: a lock cannot be held in a file."""
    if context.is_offline_mode():
        raise SystemExit("migrations need a database: set RLAIF_DATABASE_URL and run `rlaif migrate`")
    engine = create_engine(_url(), poolclass=NullPool)
    with engine.connect() as connection:
        _migrate(connection)
    engine.dispose()


run()
