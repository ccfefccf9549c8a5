"""Cancelled in every state: terminal within 10 seconds, the child gone, nothing written later (F18); pause alike."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil
import pytest

from app.db.models import RunStatus
from tests.faults.arena import Arena
from tests.faults.stages import Work
from tests.faults.test_child import is_alive
from tests.stack import wait_for

LIMIT_S = 10.0


def cancel_in_time(arena: Arena, run_id: str, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Cancel, and see the end within the limit."""
    began = time.monotonic()
    arena.cancel(run_id)
    meanwhile()
    arena.wait(run_id, RunStatus.CANCELLED, timeout_s=LIMIT_S)
    assert time.monotonic() - began < LIMIT_S


def test_f18_queued(arena: Arena) -> None:
    arena.stack.stop("relay")
    run_id = arena.submit(4)

    cancel_in_time(arena, run_id)

    assert arena.journal() == []
    arena.check_invariants()


@pytest.mark.parametrize("work", [Work.LONG, Work.DEAF])
def test_f18_running(arena: Arena, work: Work) -> None:
    run_id = arena.submit(6, work)
    arena.wait_note("called", count=4)
    children = [psutil.Process(note.pid) for note in arena.journal("called")]
    families = children + [one for child in children for one in child.children(recursive=True)]

    cancel_in_time(arena, run_id)

    wait_for(lambda: not any(map(is_alive, families)), what="every child and grandchild is gone", timeout_s=5)
    assert len(arena.journal("called")) == 4
    assert arena.journal("done") == []
    arena.check_invariants()


def test_f18_suspended_holder(arena: Arena) -> None:
    """Nobody answers for the shard, so the rescuer ends it; the holder learns of it when it wakes."""
    run_id = arena.submit(1, Work.GATED)
    child = psutil.Process(arena.wait_note("called").pid)
    arena.stack.suspend("worker-io")

    cancel_in_time(arena, run_id)
    arena.open_gate()
    arena.stack.resume("worker-io")

    wait_for(lambda: not is_alive(child), what="the child is gone", timeout_s=5)
    assert arena.journal("done") == []
    arena.check_invariants()


def test_f18_paused(arena: Arena) -> None:
    run_id = arena.submit(2, Work.LONG)
    arena.wait_note("called", count=2)
    arena.pause(run_id)
    arena.wait(run_id, RunStatus.PAUSED, timeout_s=LIMIT_S)

    cancel_in_time(arena, run_id)

    arena.check_invariants()


def test_f18_then_everything_is_killed_and_started_again(arena: Arena) -> None:
    run_id = arena.submit(2, Work.DEAF)
    arena.wait_note("called", count=2)

    def restart_everything() -> None:
        for name in ("worker-io", "relay", "redis"):
            arena.stack.kill(name)
        arena.stack.kill("postgres")
        arena.stack.start("postgres", "redis")
        arena.stack.start("relay")

    arena.cancel(run_id)
    restart_everything()
    arena.wait(run_id, RunStatus.CANCELLED, timeout_s=LIMIT_S)

    assert arena.journal("done") == []
    arena.check_invariants()


def test_a_paused_run_goes_on_where_it_stood(arena: Arena) -> None:
    run_id = arena.submit(12, Work.SLOW)
    arena.wait_done(run_id, 2)
    arena.pause(run_id)
    paused = arena.wait(run_id, RunStatus.PAUSED, timeout_s=LIMIT_S)
    assert paused.pause_reason == "a test"
    done = arena.done(run_id)
    assert done < 12

    arena.resume(run_id)
    arena.wait(run_id, RunStatus.SUCCEEDED)

    assert {shard.attempt for shard in arena.shards(run_id)} == {1}
    arena.check(run_id)
