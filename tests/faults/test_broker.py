"""A broker that forgets, is away, or comes back (F6, F7, F8)."""

from __future__ import annotations

import time

from app.db.models import RunStatus
from tests.faults.arena import Arena
from tests.faults.stages import Work
from tests.stack import wait_for

RUNG_AGAIN_S = 10.0


def test_f6_flushed_while_queued(arena: Arena) -> None:
    run_id = arena.submit(16, Work.SLOW)
    arena.wait_done(run_id, 4)

    with arena.redis() as broker:
        broker.flushall()
    done, flushed_at = arena.done(run_id), time.monotonic()
    wait_for(lambda: arena.done(run_id) > done + 4, what="work goes on", timeout_s=RUNG_AGAIN_S)

    assert time.monotonic() - flushed_at < RUNG_AGAIN_S
    arena.wait(run_id, RunStatus.SUCCEEDED)
    arena.check(run_id)


def test_f6_killed_without_persistence_while_queued(arena: Arena) -> None:
    run_id = arena.submit(16, Work.SLOW)
    arena.wait_done(run_id, 4)

    arena.stack.kill("redis")
    arena.stack.start("redis")

    arena.wait(run_id, RunStatus.SUCCEEDED)
    arena.check(run_id)


def test_f7_down_at_submit(arena: Arena) -> None:
    arena.stack.stop("redis")
    run_id = arena.submit(4)
    assert arena.run(run_id).status is RunStatus.QUEUED
    assert arena.outbox_length() == 4

    arena.stack.start("redis")

    arena.wait(run_id, RunStatus.SUCCEEDED)
    arena.check(run_id)


def test_f7_the_relay_ends_when_asked_though_the_broker_is_away(arena: Arena) -> None:
    arena.stack.stop("redis")
    arena.submit(4)
    time.sleep(1)

    arena.stack.terminate("relay")

    relay = arena.stack.processes["relay"]
    wait_for(lambda: relay.returncode is not None, what="the relay ends", timeout_s=5)
    assert relay.returncode == 0
    assert arena.outbox_length() == 4


def test_f7_hung_at_submit(arena: Arena) -> None:
    arena.stack.suspend("redis")
    run_id = arena.submit(4)
    assert arena.outbox_length() == 4

    arena.stack.resume("redis")

    arena.wait(run_id, RunStatus.SUCCEEDED)
    arena.check(run_id)


def test_f8_restarted_several_times(arena: Arena) -> None:
    worker = arena.stack.processes["worker-io"].pid
    runs = []
    for _ in range(3):
        arena.stack.kill("redis")
        time.sleep(1)
        arena.stack.start("redis")
        runs.append(arena.submit(4))
        arena.wait(runs[-1], RunStatus.SUCCEEDED)

    assert arena.stack.processes["worker-io"].pid == worker
    assert arena.is_running("worker-io")
    arena.check(*runs)
