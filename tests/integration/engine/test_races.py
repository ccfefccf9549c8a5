"""Several connections at once: who is the last finisher, who holds a shard, who waits for whom."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from app.db.models import Event, Run, RunStatus, Shard, ShardStatus, Stage
from app.services import engine
from app.services.engine import Claim, Report, Wish
from tests.integration.engine.conftest import EXPIRE, LEASE_S
from tests.runs import submit

Result = TypeVar("Result")
THREADS = 6


@pytest.fixture
def sessions(database: str) -> Iterator[sessionmaker[Session]]:
    made = create_engine(database, pool_size=THREADS + 2, connect_args={"options": "-c lock_timeout=5000"})
    yield sessionmaker(made, expire_on_commit=False)
    made.dispose()


def at_once(*actions: Callable[[], Result]) -> list[Result]:
    """Run the actions side by side, all let go at the same moment."""
    barrier = threading.Barrier(len(actions))

    def go(action: Callable[[], Result]) -> Result:
        barrier.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(go, actions))


def shard_ids(sessions: sessionmaker[Session], run: Run, status: ShardStatus = ShardStatus.QUEUED) -> list[str]:
    with sessions() as session:
        return list(session.scalars(select(Shard.id).where(Shard.run_id == run.id, Shard.status == status)))


def claim(sessions: sessionmaker[Session], shard_id: str) -> Claim | None:
    with sessions.begin() as session:
        return engine.claim(session, shard_id, worker=threading.current_thread().name, lease_s=LEASE_S)


def complete(sessions: sessionmaker[Session], work: Claim) -> bool:
    with sessions.begin() as session:
        return engine.complete(session, work.shard_id, work.token, units=1, metrics={"n": 1})


def test_one_of_many_claims_wins(sessions: sessionmaker[Session]) -> None:
    for _ in range(10):
        with sessions.begin() as session:
            run = submit(session, shards=1)
        (shard_id,) = shard_ids(sessions, run)

        claims = at_once(*[lambda shard_id=shard_id: claim(sessions, shard_id)] * THREADS)

        assert sum(found is not None for found in claims) == 1


def test_exactly_one_finisher_is_the_last(sessions: sessionmaker[Session]) -> None:
    for _ in range(10):
        with sessions.begin() as session:
            run = submit(session, shards=THREADS, stop_after="judge")
        works = [work for id_ in shard_ids(sessions, run) if (work := claim(sessions, id_))]

        assert all(at_once(*[lambda work=work: complete(sessions, work) for work in works]))

        with sessions() as session:
            sample, judge = session.scalars(select(Stage).where(Stage.run_id == run.id).order_by(Stage.position))
            opened = session.scalar(select(func.count()).where(Shard.stage_id == judge.id))
            closings = session.scalar(
                select(func.count()).where(Event.run_id == run.id, Event.type == "stage.succeeded")
            )
        assert (sample.done_shards, sample.metrics) == (THREADS, {"n": THREADS})
        assert (opened, closings) == (THREADS, 1)


def test_everything_at_once_neither_deadlocks_nor_loses(sessions: sessionmaker[Session]) -> None:
    """Finishers, heartbeats, rescuers and a cancel meet on one run."""
    with sessions.begin() as session:
        run = submit(session, shards=THREADS)
    works = [work for id_ in shard_ids(sessions, run) if (work := claim(sessions, id_))]

    def beat(work: Claim) -> None:
        for step in range(5):
            with sessions.begin() as session:
                engine.renew(session, work.shard_id, work.token, lease_s=LEASE_S)
            with sessions.begin() as session:
                engine.record(session, work.shard_id, work.token, reports=[Report(step, 5)], seconds=0.1)
        complete(sessions, work)

    def cancel() -> None:
        with sessions.begin() as session:
            engine.request_cancel(session, session.get_one(Run, run.id))

    def rescue() -> None:
        for id_ in [work.shard_id for work in works]:
            with sessions.begin() as session:
                engine.recover(session, id_)

    at_once(*[lambda work=work: beat(work) for work in works], cancel, rescue)

    with sessions() as session:
        assert session.get_one(Run, run.id).status is RunStatus.CANCELLED


class TestFence:
    """A holder's transaction against heartbeats, which pass it, and takeovers, which wait or leave."""

    @pytest.fixture
    def work(self, sessions: sessionmaker[Session]) -> Claim:
        with sessions.begin() as session:
            run = submit(session, shards=1)
        work = claim(sessions, shard_ids(sessions, run)[0])
        assert work is not None
        return work

    def test_heartbeats_do_not_wait_for_a_long_transaction(self, sessions: sessionmaker[Session], work: Claim) -> None:
        with sessions.begin() as writing:
            assert engine.holds(writing, work.shard_id, work.token)
            began = time.monotonic()
            with sessions.begin() as session:
                assert engine.renew(session, work.shard_id, work.token, lease_s=LEASE_S) is Wish.CONTINUE
            with sessions.begin() as session:
                assert engine.record(session, work.shard_id, work.token, reports=[], seconds=1)
            assert time.monotonic() - began < 2

    def test_nobody_takes_over_in_the_middle_of_one(self, sessions: sessionmaker[Session], work: Claim) -> None:
        with sessions.begin() as session:
            session.execute(EXPIRE.bindparams(shard=work.shard_id))
        with sessions.begin() as writing:
            assert engine.holds(writing, work.shard_id, work.token)
            assert claim(sessions, work.shard_id) is None
            with sessions.begin() as session:
                assert not engine.recover(session, work.shard_id)
        assert claim(sessions, work.shard_id) is not None

    def test_a_takeover_that_began_first_wins(self, sessions: sessionmaker[Session], work: Claim) -> None:
        with sessions.begin() as session:
            session.execute(EXPIRE.bindparams(shard=work.shard_id))
        with ThreadPoolExecutor(1) as pool, sessions() as taking:
            taken = engine.claim(taking, work.shard_id, worker="second", lease_s=LEASE_S)
            assert taken is not None
            answer = pool.submit(holds, sessions, work)
            wait_until_blocked(sessions)
            taking.commit()
            assert answer.result(timeout=5) is False


def holds(sessions: sessionmaker[Session], work: Claim) -> bool:
    with sessions.begin() as session:
        return engine.holds(session, work.shard_id, work.token)


def wait_until_blocked(sessions: sessionmaker[Session]) -> None:
    """Until some session of this database waits for a lock."""
    blocked = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with sessions() as session:
            if session.scalar(blocked):
                return
    raise AssertionError("nobody waits")
