"""A judge that is down (F15): its shards are given back to wait, and everything goes on once it is there again."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import select

from app.db.models import Event, RunStatus, Stage
from tests.faults.arena import Arena
from tests.faults.stages import SENT_AWAY_S, Work
from tests.stack import wait_for


def test_f15_down_for_a_while(arena: Arena) -> None:
    run_id = arena.submit(1, Work.AWAY, max_attempts=1)
    arena.wait_note("away")
    sent_away_at = time.monotonic()
    wait_for(lambda: stage(arena, run_id).waiting_for, what="what the stage waits for")
    arena.wait_note("called", count=2)
    assert time.monotonic() - sent_away_at >= SENT_AWAY_S - 0.5
    wait_for(lambda: arena.shards(run_id)[0].given_back == 2, what="given back again")

    waiting = stage(arena, run_id)
    assert (arena.shards(run_id)[0].attempt, arena.run(run_id).status) == (0, RunStatus.RUNNING)
    assert (waiting.waiting_for or {})["detail"] == "the judge is down"
    assert waiting.compute_seconds == pytest.approx(0, abs=0.01)
    assert "judge_unavailable the judge is down" in arena.stack.logs()["worker-io"]

    arena.open_gate()
    arena.wait(run_id, RunStatus.SUCCEEDED)
    assert stage(arena, run_id).waiting_for is None
    assert told(arena, run_id) == ["judge_unavailable"]
    arena.check(run_id)


def stage(arena: Arena, run_id: str) -> Stage:
    with arena.sessions() as session:
        return session.scalars(select(Stage).where(Stage.run_id == run_id)).one()


def told(arena: Arena, run_id: str) -> list[str]:
    """The causes for which shards were given back, as events."""
    query = select(Event).where(Event.run_id == run_id, Event.type == "shard.given_back")
    with arena.sessions() as session:
        return [event.data["code"] for event in session.scalars(query)]
