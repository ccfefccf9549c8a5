"""A database that restarts and restarts (F9), or is away when everything else starts."""

from __future__ import annotations

import time

from app.db.models import RunStatus
from tests.faults.arena import Arena
from tests.faults.stages import Work
from tests.stack import wait_for

RESTARTS = 3


def test_f9_restarted_again_and_again(arena: Arena) -> None:
    parts = {name: arena.stack.processes[name].pid for name in ("relay", "worker-io")}
    run_id = arena.submit(40, Work.SLOW, max_attempts=10)
    for number in range(RESTARTS):
        arena.wait_done(run_id, 4 * (number + 1))
        arena.stack.restart("postgres")

    arena.wait(run_id, RunStatus.SUCCEEDED)

    assert {name: arena.stack.processes[name].pid for name in parts} == parts
    assert all(arena.is_running(name) for name in parts)
    arena.check(run_id)


def test_f9_killed_in_the_middle_of_a_long_shard(arena: Arena) -> None:
    """An outage shorter than the lease costs nothing: the child never notices."""
    run_id = arena.submit(1, Work.LASTING)
    arena.wait_note("called")

    arena.stack.kill("postgres")
    arena.stack.start("postgres")

    arena.wait(run_id, RunStatus.SUCCEEDED)
    arena.check(run_id)


def test_f9_away_longer_than_a_lease(arena: Arena) -> None:
    """The child is stopped before its lease ends; what it had is given back, and the attempt does not count."""
    run_id = arena.submit(1, Work.LONG)
    arena.wait_note("called")

    arena.stack.stop("postgres")
    time.sleep(5)
    arena.stack.start("postgres")

    arena.wait_note("called", count=2)
    wait_for(lambda: arena.shards(run_id)[0].lease_token == 2, what="held again")
    assert arena.shards(run_id)[0].attempt == 1
    arena.check_invariants()


def test_worker_and_relay_wait_for_servers_that_are_not_up_yet(arena: Arena) -> None:
    arena.stack.stop("worker-io", "relay", "redis", "postgres")
    arena.stack.launch("worker-io")
    arena.stack.launch("relay")
    time.sleep(4)

    arena.stack.start_servers()
    run_id = arena.submit(4)

    arena.wait(run_id, RunStatus.SUCCEEDED)
    assert arena.is_running("worker-io")
    assert arena.is_running("relay")
    arena.check(run_id)
