"""Engine and sessions: synchronous SQLAlchemy over psycopg 3, the same type for the API and the workers."""

from __future__ import annotations

from typing import NewType

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

from app.config import Settings

SessionFactory = sessionmaker[Session]
# What may only read and what may write are different types; a read session's connection refuses writes as well.
ReadSession = NewType("ReadSession", Session)
WriteSession = NewType("WriteSession", Session)


def make_engine(settings: Settings, *, pool_size: int | None = None) -> Engine:
    """An engine whose waits are bounded: for a connection, for a lock, for an idle transaction."""
    return create_engine(
        settings.database_url,
        pool_size=pool_size or settings.database_pool,
        max_overflow=0,
        pool_timeout=settings.database_wait_s,
        pool_pre_ping=True,
        hide_parameters=True,  # an error's text reaches the log; what clients sent must not
        connect_args={
            "connect_timeout": max(1, round(settings.database_wait_s)),
            "options": "-c timezone=UTC -c lock_timeout=10000 -c idle_in_transaction_session_timeout=120000",
        },
    )


def make_session_factory(engine: Engine) -> SessionFactory:
    """Sessions that keep loaded values after commit: a response is built from them."""
    return sessionmaker(engine, expire_on_commit=False)


def make_read_session_factory(engine: Engine) -> SessionFactory:
    """Sessions whose transactions are READ ONLY in the database itself."""
    return make_session_factory(engine.execution_options(postgresql_readonly=True))
