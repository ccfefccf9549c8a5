"""One endpoint, several real processes that call it: what one of them learns, all of them keep to."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.orm import Session, sessionmaker

from app.repositories import endpoints
from app.repositories.endpoints import MEMBER_TTL_S, Place, Report
from app.rlaif.limits import Ceiling
from tests.integration.stages.endpoint import RunningJudge
from tests.scripted_judge import ScriptedJudge
from tests.stack import wait_for
from workers.judges.bucket import Bucket
from workers.judges.gate import Gate
from workers.judges.limits import SharedLimits, Stated
from workers.judges.protocol import JudgeUnavailable

PROJECT = "project_1"
STATED = Stated(requests_per_minute=None, tokens_per_minute=None, patience_s=60.0, probe_s=5.0, outage_after=2)
PLACE = Place(PROJECT, "k" * 64)


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = create_engine(database)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO projects (id, name) VALUES (:id, 'p')"), {"id": PROJECT})
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> sessionmaker[Session]:
    return sessionmaker(engine)


class Callers:
    """Processes that ask questions of one endpoint."""

    def __init__(self, database: str, endpoint: RunningJudge) -> None:
        self._command = [sys.executable, "-m", "tests.judges.caller", "--database", database, "--project", PROJECT]
        self._command += ["--endpoint", endpoint.spec()["base_url"]]
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, count: int, *arguments: str) -> None:
        command = [*self._command, *arguments]
        self.processes += [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]

    def counts(self) -> Counter[str]:
        """How the questions of those went that were not killed."""
        total: Counter[str] = Counter()
        for process in self.processes:
            output, _ = process.communicate(timeout=120)
            if process.returncode == 0:
                total.update(json.loads(output))
        return total


def accepted_by_second(judge: ScriptedJudge) -> list[int]:
    """Accepted calls in each second since the first."""
    at = [datetime.fromisoformat(call["at"]) for call in judge.calls if call["fault"] is None]
    seconds = Counter(int((moment - at[0]) / timedelta(seconds=1)) for moment in at)
    return [seconds[second] for second in range(max(seconds) + 1)]


class TestProcesses:
    def test_a_limit_that_nobody_stated_is_learned_and_kept_to_by_all(self, database: str, engine: Engine) -> None:
        """The sum of three processes is at least nine tenths of what is allowed, well within a minute."""
        rate = 30.0
        judge = ScriptedJudge(limiter=Bucket(rate, now=time.monotonic(), burst_s=0.5))
        with RunningJudge(judge) as endpoint:
            callers = Callers(database, endpoint)
            callers.start(3, "--questions", "300", "--in-flight", "40")
            counts = callers.counts()
        seconds = accepted_by_second(judge)
        settled = sorted(seconds[len(seconds) // 2 : -2])
        assert counts["answered"] == 900
        assert settled[len(settled) // 2] >= 0.9 * rate
        assert max(seconds[2:]) <= rate * 1.5 + 1

    def test_a_stated_limit_is_shared_out_and_a_killed_process_leaves_its_share_to_the_others(
        self, database: str, engine: Engine
    ) -> None:
        judge = ScriptedJudge()
        with RunningJudge(judge) as endpoint:
            callers = Callers(database, endpoint)
            callers.start(2, "--questions", "240", "--requests-per-minute", "1200")
            wait_for(lambda: len(judge.calls) > 60, what="calls of both")
            callers.processes[0].kill()
            counts = callers.counts()
        seconds = accepted_by_second(judge)
        assert counts["answered"] == 240
        assert max(seconds) <= 23
        assert max(seconds[-4:-1]) >= 18, seconds  # the one that is left has the whole


class TestSharedState:
    def test_members_share_equally_and_the_dead_age_out(self, sessions: sessionmaker[Session]) -> None:
        with sessions.begin() as session:
            endpoints.join(session, PLACE, "one")
            assert endpoints.join(session, PLACE, "two").others == 1
            session.execute(text("UPDATE endpoint_members SET seen_at = now() - interval '6 s' WHERE member = 'one'"))
            assert MEMBER_TTL_S < 6
            assert endpoints.sync(session, PLACE, "two", Report()).others == 0

    def test_only_one_cut_answers_refusals_of_the_same_moment(self, sessions: sessionmaker[Session]) -> None:
        with sessions.begin() as session:
            known = endpoints.join(session, PLACE, "one").cuts
            endpoints.cut_rate(session, PLACE, Ceiling(50.0, 0.0, 2.0), known_cuts=known)
            endpoints.cut_rate(session, PLACE, Ceiling(40.0, 0.0, 2.0), known_cuts=known)
            shared = endpoints.sync(session, PLACE, "one", Report())
        assert shared.rate is not None
        assert (shared.rate.value, shared.cuts) == (50.0, known + 1)

    def test_a_hold_is_everybodys_and_never_shortened(self, sessions: sessionmaker[Session]) -> None:
        with sessions.begin() as session:
            endpoints.join(session, PLACE, "one")
            endpoints.hold(session, PLACE, 30.0)
            endpoints.hold(session, PLACE, 2.0)
            assert endpoints.join(session, PLACE, "two").hold_s == pytest.approx(30.0, abs=1.0)

    def test_of_another_project_is_another(self, sessions: sessionmaker[Session]) -> None:
        with sessions.begin() as session:
            session.execute(text("INSERT INTO projects (id, name) VALUES ('project_2', 'q')"))
            endpoints.join(session, PLACE, "one")
            endpoints.hold(session, PLACE, 30.0)
            assert endpoints.join(session, Place("project_2", PLACE.key), "one").hold_s == 0


class TestCircuit:
    def test_opened_by_one_it_stops_all_and_one_probe_closes_it(self, sessions: sessionmaker[Session]) -> None:
        async def scenario() -> None:
            healthy = SharedLimits(sessions.begin, PLACE, STATED)
            async with healthy as gate:
                with pytest.raises(JudgeUnavailable):
                    await fail(SharedLimits(sessions.begin, PLACE, STATED))
                async with asyncio.timeout(5):
                    with pytest.raises(JudgeUnavailable, match="as another worker found"):
                        await gate.wait(60.0)
            with pytest.raises(JudgeUnavailable, match="HTTP 503") as refused:
                await SharedLimits(sessions.begin, PLACE, STATED).__aenter__()
            assert 0 < (refused.value.retry_after_s or 0) <= 5

            lapse(sessions)
            async with SharedLimits(sessions.begin, PLACE, STATED) as probing:
                assert probing.probing
                with pytest.raises(JudgeUnavailable):
                    await SharedLimits(sessions.begin, PLACE, STATED).__aenter__()
                await probing.enter()
                probing.reached()
                probing.leave()
            async with SharedLimits(sessions.begin, PLACE, STATED) as gate:
                assert not gate.probing

        asyncio.run(scenario())

    def test_a_probe_that_fails_waits_twice_as_long(self, sessions: sessionmaker[Session]) -> None:
        async def scenario() -> None:
            for seconds in (5, 10, 20):
                with pytest.raises(JudgeUnavailable):
                    await fail(SharedLimits(sessions.begin, PLACE, STATED))
                assert opened(sessions) == pytest.approx(seconds, abs=1.0)
                lapse(sessions)

        asyncio.run(scenario())

    def test_one_that_still_gets_answers_closes_it(self, sessions: sessionmaker[Session]) -> None:
        """A worker without a network must not stop those that have one."""

        async def scenario() -> None:
            async with SharedLimits(sessions.begin, PLACE, STATED) as gate:
                with pytest.raises(JudgeUnavailable):
                    await fail(SharedLimits(sessions.begin, PLACE, STATED))
                await gate.enter()
                gate.reached()
                gate.leave()
                async with asyncio.timeout(5):
                    while opened(sessions) is not None:
                        await asyncio.sleep(0.1)
                await gate.enter()

        asyncio.run(scenario())


async def fail(limits: SharedLimits) -> None:
    """Find the endpoint down."""
    async with limits as gate:
        for _ in range(STATED.outage_after):
            await miss(gate)


async def miss(gate: Gate) -> None:
    await gate.enter()
    try:
        gate.missed("HTTP 503", retry_after_s=None)
    finally:
        gate.leave()


def opened(sessions: sessionmaker[Session]) -> float | None:
    with sessions() as session:
        shared = endpoints.read(session, PLACE)
    return None if shared is None else shared.open_s


def lapse(sessions: sessionmaker[Session]) -> None:
    """The time of an open circuit is over."""
    with sessions.begin() as session:
        session.execute(text("UPDATE endpoint_states SET open_until = now() - interval '1 ms'"))
