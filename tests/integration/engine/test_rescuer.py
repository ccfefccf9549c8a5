"""One rescuer's pass on a real database and a real broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.config import Settings
from app.db.models import Outbox, Shard, ShardStatus
from app.db.session import SessionFactory, make_engine, make_session_factory
from app.services import engine
from tests.integration.engine.conftest import EXPIRE, LEASE_S
from tests.runs import submit
from workers.rescuer import FULL, Rescuer

SILENCE = text("UPDATE shards SET rung_at = now() - interval '1 hour'")


@pytest.fixture
def settings(database: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=database, redis_url=redis_url, artifacts_dir=tmp_path)


@pytest.fixture
def sessions(settings: Settings) -> Iterator[SessionFactory]:
    made = make_engine(settings, pool_size=2)
    yield make_session_factory(made)
    made.dispose()


@pytest.fixture
def rescuer(sessions: SessionFactory, settings: Settings) -> Iterator[Rescuer]:
    rescuer = Rescuer(sessions, settings)
    yield rescuer
    rescuer.close()


def outbox_length(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Outbox)) or 0


def silent_run(sessions: SessionFactory, *, shards: int) -> None:
    """A run whose doorbells are all lost."""
    with sessions.begin() as session:
        submit(session, shards=shards)
        session.execute(text("DELETE FROM outbox"))
        session.execute(SILENCE)


def test_lost_doorbells_are_rung_again(rescuer: Rescuer, sessions: SessionFactory) -> None:
    silent_run(sessions, shards=3)

    rescuer.look()

    with sessions() as session:
        assert outbox_length(session) == 3


def test_a_full_queue_is_not_filled_further(rescuer: Rescuer, sessions: SessionFactory, settings: Settings) -> None:
    """Workers that are busy for hours must not find a million doorbells afterwards."""
    silent_run(sessions, shards=10)
    with redis.Redis.from_url(settings.redis_url) as broker:
        broker.rpush("gpu", *["x"] * (FULL - 4))

    rescuer.look()

    with sessions() as session:
        assert outbox_length(session) == 4


def test_without_a_broker_the_rest_is_still_done(
    rescuer: Rescuer, sessions: SessionFactory, settings: Settings
) -> None:
    with sessions.begin() as session:
        run = submit(session, shards=1)
        (shard_id,) = session.scalars(select(Shard.id).where(Shard.run_id == run.id))
        engine.claim(session, shard_id, worker="gone", lease_s=LEASE_S)
    with sessions.begin() as session:
        session.execute(EXPIRE.bindparams(shard=shard_id))
    away = Rescuer(sessions, settings.model_copy(update={"redis_url": "unix:///nowhere.sock"}))

    with pytest.raises(redis.ConnectionError):
        away.look()

    with sessions() as session:
        assert session.get_one(Shard, shard_id).status is ShardStatus.QUEUED
    away.close()


def test_a_pass_beside_another_transaction_is_quick(rescuer: Rescuer, sessions: SessionFactory) -> None:
    """A suspended holder in the middle of its transaction holds nobody up."""
    with sessions.begin() as session:
        run = submit(session, shards=1)
        (shard_id,) = session.scalars(select(Shard.id).where(Shard.run_id == run.id))
        claim = engine.claim(session, shard_id, worker="suspended", lease_s=LEASE_S)
    assert claim is not None
    with sessions.begin() as session:
        session.execute(EXPIRE.bindparams(shard=shard_id))

    with sessions.begin() as writing:
        assert engine.holds(writing, shard_id, claim.token)
        began = time.monotonic()
        rescuer.look()
        assert time.monotonic() - began < 2
