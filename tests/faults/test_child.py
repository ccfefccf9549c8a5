"""Shards whose child dies, raises, refuses or never ends (F2, F3)."""

from __future__ import annotations

import psutil
from sqlalchemy import select

from app.db.models import Event, RunStatus
from tests.faults.arena import Arena, tokens
from tests.faults.stages import Work
from tests.stack import wait_for


def test_f2_a_killed_child_is_recorded_and_its_shard_done_again(arena: Arena) -> None:
    run_id = arena.submit(1, Work.DIE_ONCE)

    arena.wait(run_id, RunStatus.SUCCEEDED)

    assert tokens(arena.journal("called")) == [1, 2]
    assert arena.shards(run_id)[0].attempt == 2
    with arena.sessions() as session:
        query = select(Event.data).where(Event.run_id == run_id, Event.type == "shard.attempt_failed")
        (cause,) = session.scalars(query)
    assert cause["code"] == "child_killed"
    assert "SIGKILL (out of memory?)" in cause["detail"]
    assert len(arena.check(run_id).recovered) == 1


def test_f3_a_shard_that_always_dies_fails_its_run_and_nobody_elses(arena: Arena) -> None:
    doomed, fine = arena.submit(3, Work.FIRST_DIES), arena.submit(3)

    failed = arena.wait(doomed, RunStatus.FAILED)
    arena.wait(fine, RunStatus.SUCCEEDED)

    assert failed.error is not None
    assert (failed.error["code"], failed.error["attempt"], failed.error["stage"]) == ("child_killed", 3, "sample")
    assert tokens([note for note in arena.journal("called") if note.shard_id == failed.error["shard"]]) == [1, 2, 3]
    arena.check(fine)


def test_an_exception_is_the_cause_that_a_person_reads(arena: Arena) -> None:
    run_id = arena.submit(1, Work.RAISE, max_attempts=2)

    failed = arena.wait(run_id, RunStatus.FAILED)

    assert failed.error is not None
    assert failed.error["code"] == "RuntimeError"
    assert failed.error["detail"].startswith("RuntimeError: the work cannot be done")
    assert "tests/faults/stages.py" in failed.error["detail"]
    assert len(arena.journal("called")) == 2
    arena.check_invariants()


def test_a_refusal_is_not_tried_again(arena: Arena) -> None:
    run_id = arena.submit(1, Work.REFUSE)

    failed = arena.wait(run_id, RunStatus.FAILED)

    assert failed.error is not None
    assert (failed.error["code"], failed.error["detail"]) == ("no_use", "trying again cannot help")
    assert len(arena.journal("called")) == 1


def test_a_child_dies_with_its_supervisor(arena: Arena) -> None:
    arena.submit(1, Work.DEAF)
    child = psutil.Process(arena.wait_note("called").pid)

    arena.kill_group("worker-io")

    wait_for(lambda: not is_alive(child), what="the child is gone", timeout_s=3)


def test_a_killed_fork_server_takes_its_children_and_is_replaced(arena: Arena) -> None:
    run_id = arena.submit(2, Work.SLOW)
    arena.wait_note("called", count=2)
    worker = arena.stack.processes["worker-io"].pid
    (server,) = [
        one
        for one in arena.stack.children("worker-io")
        if one.ppid() == worker and "multiprocessing.forkserver" in " ".join(one.cmdline())
    ]
    server.kill()

    arena.wait(run_id, RunStatus.SUCCEEDED)

    assert {shard.attempt for shard in arena.shards(run_id)} == {2}
    arena.check(run_id)


def is_alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
