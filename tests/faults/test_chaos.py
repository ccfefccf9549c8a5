"""Workers killed at random (F1), the control that does the same to plain Celery, and mutants that must be caught."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from celery import Celery
from sqlalchemy import text

from app.db.models import RunStatus
from tests.faults.arena import Arena
from tests.faults.stages import Work
from tests.stack import wait_for
from workers.celery import broker_url

WORKERS = ("worker-io", "worker-io-2")


@pytest.mark.parametrize(
    ("shards", "kills"), [(120, 6), pytest.param(10_000, 200, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])]
)
def test_f1_random_kills_lose_and_double_nothing(arena: Arena, shards: int, kills: int) -> None:
    arena.part("relay-2", "cli.main", "relay")
    arena.stack.start("relay-2", "worker-io-2")
    dice = random.Random(1)
    run_id = arena.submit(shards, Work.SLOW, max_attempts=20)

    for number in range(kills):
        arena.wait_note("called", count=len(arena.journal("called")) + 1, timeout_s=60)
        time.sleep(dice.uniform(0, 1))
        victim = dice.choice(WORKERS)
        arena.kill_group(victim)
        arena.stack.launch(victim)
        assert arena.done(run_id) < shards, f"all was done after {number} kills: nothing was tested"

    arena.wait(run_id, RunStatus.SUCCEEDED, timeout_s=120 + shards / 4)
    finding = arena.check(run_id)
    assert len(finding.recovered) >= kills // 2


@pytest.mark.parametrize(("tasks", "kills"), [(24, 2), pytest.param(2000, 40, marks=[pytest.mark.soak])])
def test_f1_control_plain_celery_loses_or_doubles(arena: Arena, tasks: int, kills: int) -> None:
    dice = random.Random(1)
    with Celery(broker=broker_url(arena.stack.redis_url), set_as_current=False) as app:
        for number in range(tasks):
            app.send_task("plain.work", args=[number], queue="plain")
    for _ in range(kills):
        before = plain_effects(arena)
        with plain_worker(arena):
            wait_for(lambda before=before: plain_effects(arena) > before, what="an effect")  # type: ignore[misc]
            time.sleep(dice.uniform(0, 0.5))
    with plain_worker(arena):
        still = settled(arena, tasks)

    with arena.engine.connect() as connection:
        effects = list(connection.scalars(text("SELECT count(*) FROM effects GROUP BY shard_id")))
    lost, doubled = tasks - len(effects), sum(count > 1 for count in effects)
    assert lost + doubled > 0, f"{still} effects, each once: the loop is too gentle to prove anything"


def plain_effects(arena: Arena) -> int:
    with arena.engine.connect() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM effects")) or 0)


def settled(arena: Arena, tasks: int) -> int:
    """The number of effects, once every task has one or nothing has changed for three visibility timeouts."""
    last, changed_at = -1, time.monotonic()
    while time.monotonic() - changed_at < 6:
        if (now := plain_effects(arena)) != last:
            last, changed_at = now, time.monotonic()
        if last >= tasks and time.monotonic() - changed_at > 3:
            break
        time.sleep(0.2)
    return last


@contextmanager
def plain_worker(arena: Arena) -> Iterator[None]:
    """A worker of the control, killed at the end."""
    variables = {
        "PLAIN_BROKER": broker_url(arena.stack.redis_url),
        "PLAIN_DATABASE": arena.stack.database_url.replace("+psycopg", ""),
    }
    command = [sys.executable, "-m", "celery", "-A", "tests.faults.plain_celery", "worker", "--queues", "plain"]
    log = arena.stack.home.log("plain-celery").open("ab")
    process = subprocess.Popen(
        command, env=arena.stack.environment("plain-celery") | variables, stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        log.close()


class TestMutants:
    """A check that cannot fail is no check."""

    def test_without_the_rescuer_a_killed_workers_shards_are_lost(self, arena: Arena) -> None:
        arena.part("mutant", "tests.faults.mutants", "no-rescuer")
        arena.stack.stop("relay")
        arena.stack.start("mutant")
        run_id = arena.submit(8, Work.SLOW)
        arena.wait_note("called", count=4)
        arena.kill_group("worker-io")
        arena.stack.start("worker-io")
        time.sleep(4)

        assert arena.find(run_id).lost

    def test_without_the_outbox_a_run_submitted_beside_a_broker_that_is_away_is_lost(self, arena: Arena) -> None:
        arena.part("mutant", "tests.faults.mutants", "no-outbox")
        arena.stack.stop("relay", "redis")
        arena.stack.start("mutant")
        run_id = arena.submit(4)
        wait_for(lambda: arena.outbox_length() == 0, what="the mutant has forgotten")
        time.sleep(2)  # and its attempts to send are over
        arena.stack.start("redis")
        time.sleep(4)

        assert len(arena.find(run_id).lost) == 4
