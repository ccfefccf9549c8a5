"""Engine and sessions: synchronous SQLAlchemy over psycopg 3, the same type for the API and the workers."""

from __future__ import annotations

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

from app.config import Settings

SessionFactory = sessionmaker[Session]


def make_engine(settings: Settings, *, pool_size: int | None = None) -> Engine:
    """An engine whose waits are bounded: for a connection, for a lock, for an idle transaction."""
    return create_engine(
        settings.database_url,
        pool_size=pool_size or settings.database_pool,
        max_overflow=0,
        pool_timeout=settings.database_wait_s,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": max(1, round(settings.database_wait_s)),
            "options": "-c timezone=UTC -c lock_timeout=10000 -c idle_in_transaction_session_timeout=120000",
        },
    )


def make_session_factory(engine: Engine) -> SessionFactory:
    """Sessions that keep loaded values after commit: a response is built from them."""
    return sessionmaker(engine, expire_on_commit=False)
