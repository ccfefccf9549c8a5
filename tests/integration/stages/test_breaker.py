"""F15, the judge is down for ten minutes: one shard finds out, the others do not call, and all goes on by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from app.db.models import RunStatus, Shard, Verdict
from tests.integration.stages.endpoint import RunningJudge
from tests.integration.stages.test_judging import PAIRS, PROMPTS, RECIPE, TEXTS, prompts_with
from tests.integration.stages.world import World
from workers.stages.contract import GiveBack, ShardWork

SMALL_SHARDS: dict[str, Any] = RECIPE | {"judge": {"prompts_per_shard": 2, "cache": False}}


@pytest.fixture
def endpoint() -> Iterator[RunningJudge]:
    with RunningJudge() as running:
        yield running


def given_back(world: World, run_id: str) -> tuple[ShardWork, GiveBack]:
    work = world.claim(world.next_shard(run_id) or "")
    with pytest.raises(GiveBack) as raised:
        world.execute(work)
    world.release(work)
    return work, raised.value


def later(world: World, seconds: float) -> None:
    """So much of the circuit's time has passed."""
    with world.sessions.begin() as session:
        session.execute(
            text("UPDATE endpoint_states SET open_until = open_until - make_interval(secs => :seconds)"),
            {"seconds": seconds},
        )


def test_f15_down_for_ten_minutes(world: World, endpoint: RunningJudge) -> None:
    endpoint.judge.script.faults.append("503")
    endpoint.judge.script.repeat = True
    judge = world.add_judge(endpoint.spec(outage_after=3, max_attempts=3))
    run_id = world.add_run(SMALL_SHARDS, world.add_prompts(prompts_with(*TEXTS)), judge=judge)
    world.work_off(world.next_shard(run_id) or "")

    _, found = given_back(world, run_id)
    assert found.code == "judge_unavailable"
    calls = len(endpoint.judge.calls)
    assert 3 <= calls <= 3 + 4

    for _ in range(3):  # other shards, and this one again: nobody calls while the circuit is open
        _, told = given_back(world, run_id)
        assert told.code == "judge_unavailable"
        assert 0 < (told.retry_after_s or 0) <= 5
    assert len(endpoint.judge.calls) == calls

    waits = []
    for _ in range(8):  # half open: one call finds out, and the wait doubles up to a minute
        later(world, 60.0)
        given_back(world, run_id)
        waits.append(round(given_back(world, run_id)[1].retry_after_s or 0))
    assert waits == [10, 20, 40, 60, 60, 60, 60, 60]
    assert len(endpoint.judge.calls) == calls + 8

    assert world.rows(Verdict, run_id) == []
    endpoint.judge.script.faults.clear()
    later(world, 60.0)
    run = world.drive(run_id)
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
    assert len(world.rows(Verdict, run_id)) == PROMPTS * PAIRS * 2
    assert {shard.attempt for shard in world.rows(Shard, run_id)} == {1}
    assert {verdict.invalid_reason for verdict in world.rows(Verdict, run_id)} == {None}
