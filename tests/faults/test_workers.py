"""Workers that are told to stop, suspended, doubled or rung too often (F4, F5, F16, F17, F25)."""

from __future__ import annotations

import random
import time

import psutil
from celery import Celery

from app.db.models import RunStatus
from tests.faults.arena import Arena, tokens
from tests.faults.stages import Work
from tests.faults.test_child import is_alive
from tests.stack import wait_for
from workers.celery import TASK, broker_url

MOMENTS = (0.05, 0.3, 0.7)


def test_f4_sigterm_gives_shards_back_uncounted(arena: Arena) -> None:
    run_id = arena.submit(24, Work.SLOW)
    for number, moment in enumerate(MOMENTS):
        arena.wait_note("called", count=len(arena.journal("called")) + 1)
        pause(moment)
        arena.stack.terminate("worker-io")
        leader = arena.stack.processes["worker-io"]
        wait_for(lambda leader=leader: leader.returncode is not None, what="the worker ends", timeout_s=8)  # type: ignore[misc]

        assert leader.returncode == 0
        assert [shard.id for shard in arena.shards(run_id) if shard.status == "running"] == [], f"after {number}"
        arena.stack.start("worker-io")

    arena.wait(run_id, RunStatus.SUCCEEDED)

    assert {shard.attempt for shard in arena.shards(run_id)} == {1}
    assert arena.check(run_id).recovered


def pause(seconds: float) -> None:
    """The moment of a fault is what the test varies."""
    time.sleep(seconds)


def test_f4_a_long_shard_is_asked_and_ends_by_itself(arena: Arena) -> None:
    run_id = arena.submit(1, Work.LONG)
    arena.wait_note("called")

    arena.stack.stop("worker-io")

    (shard,) = arena.shards(run_id)
    assert (shard.status, shard.attempt) == ("queued", 0)
    assert len(arena.journal("stopped")) == 1


def test_f5_a_suspended_holder_writes_nothing_when_it_wakes(arena: Arena) -> None:
    run_id = arena.submit(1, Work.GATED)

    overtake(arena, run_id, ending="fenced")

    assert arena.check(run_id).recovered


def test_f5_mutant_without_the_fence_doubles_the_effect(arena: Arena) -> None:
    arena.stack.env["*"]["RLAIF_STAGE_REGISTRY"] = "tests.faults.stages:UNFENCED"
    arena.stack.restart("worker-io")
    run_id = arena.submit(1, Work.GATED)

    overtake(arena, run_id, ending="done")

    assert len(arena.find(run_id).duplicated) == 1
    arena.stack.stop("worker-io")  # the next test gets one without the mutant


def overtake(arena: Arena, run_id: str, *, ending: str) -> None:
    """A holder is suspended past its lease, another finishes, and the first one's child wakes and goes on."""
    stale = psutil.Process(arena.wait_note("called").pid)
    arena.stack.suspend("worker-io")
    arena.stack.start("worker-io-2")
    arena.wait_note("called", count=2)
    arena.open_gate()
    arena.wait(run_id, RunStatus.SUCCEEDED)
    stale.resume()  # the child alone: its supervisor, which would kill it, still sleeps
    wait_for(lambda: 1 in tokens(arena.journal(ending)), what="the stale child has tried to write")
    arena.stack.resume("worker-io")
    wait_for(lambda: not is_alive(stale), what="the stale child is gone", timeout_s=10)
    assert tokens(arena.journal("called")) == [1, 2]


def test_f16_a_shard_longer_than_every_timeout_has_one_copy(arena: Arena) -> None:
    run_id = arena.submit(1, Work.LASTING)
    (shard,) = arena.shards(run_id)
    arena.wait_note("called")

    for _ in range(5):
        ring(arena, [shard.id])
        pause(0.5)
    arena.wait(run_id, RunStatus.SUCCEEDED)

    assert tokens(arena.journal("called")) == [1]
    assert not arena.check(run_id).recovered


def test_f17_doorbells_delivered_ten_times_in_any_order(arena: Arena) -> None:
    arena.stack.stop("worker-io")
    run_id = arena.submit(20)
    doorbells = [shard.id for shard in arena.shards(run_id)] * 10 + ["shard_that_never_was"] * 10
    random.Random(17).shuffle(doorbells)
    ring(arena, doorbells)
    arena.stack.start("worker-io")

    arena.wait(run_id, RunStatus.SUCCEEDED)
    wait_for(lambda: arena.queue_length() == 0, what="every doorbell is heard")

    assert len(arena.journal("called")) == 20
    assert not arena.check(run_id).recovered


def ring(arena: Arena, shard_ids: list[str]) -> None:
    with Celery(broker=broker_url(arena.stack.redis_url), set_as_current=False) as app:
        for shard_id in shard_ids:
            app.send_task(TASK, args=[shard_id], queue="io")


def test_f25_two_relays_and_two_rescuers(arena: Arena) -> None:
    arena.part("relay-2", "cli.main", "relay")
    arena.stack.start("relay-2", "worker-io-2")
    run_id = arena.submit(40)
    arena.wait_done(run_id, 5)
    arena.kill_group("worker-io-2")

    arena.wait(run_id, RunStatus.SUCCEEDED)

    calls = [(note.shard_id, note.token) for note in arena.journal("called")]
    assert len(calls) == len(set(calls))
    arena.check(run_id)
