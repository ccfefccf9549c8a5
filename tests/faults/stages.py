"""Stages for fault tests: tiny work whose every effect and every call is counted.

An effect is a row of a table without a unique key, added only where it is missing: with a working fence each comes
once. The run's `seed` and a shard's position say what the work does, so that a test can ask for trouble.
"""

from __future__ import annotations

import os
import signal
import time
from enum import IntEnum
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.rlaif.recipe import StageKind
from workers.stages.contract import GiveBack, StageContext, StageOutcome, StageRefused

EFFECTS = """
CREATE TABLE effects (shard_id text NOT NULL, token bigint NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())
"""


class Work(IntEnum):
    """What a shard does, by the seed of its recipe."""

    QUICK = 0
    DIE = 1  # kills itself, every time
    LONG = 2  # until it is asked to stop
    DEAF = 3  # until it is killed
    SLOW = 4  # half a second, then its effect
    RAISE = 5
    REFUSE = 6
    DIE_ONCE = 7
    FIRST_DIES = 8  # the shard at position 0 always dies; the others are quick
    HALF_A_MINUTE = 9


def work(context: StageContext) -> StageOutcome:
    """One effect, after whatever the seed asks for."""
    kind, shard = Work(context.work.recipe.seed), context.work
    note(context, "called")
    match kind:
        case Work.DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        case Work.DIE_ONCE if shard.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        case Work.FIRST_DIES if shard.position == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        case Work.RAISE:
            raise RuntimeError("the work cannot be done")
        case Work.REFUSE:
            raise StageRefused("no_use", "trying again cannot help")
        case Work.SLOW:
            time.sleep(0.5)
        case Work.HALF_A_MINUTE:
            wait(context, 30)
        case Work.LONG:
            wait(context, 600)
        case Work.DEAF:
            time.sleep(600)
    with context.transaction() as session:
        add_effect(session, context)
    note(context, "done")
    return StageOutcome(1)


def wait(context: StageContext, seconds: float) -> None:
    """Long work that reports and can be asked to stop."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        context.progress.report(1, 2, {"loss": 0.5})
        if context.progress.should_stop():
            note(context, "stopped")
            raise GiveBack("stopped", "asked to stop")
        time.sleep(0.1)


def add_effect(session: Session, context: StageContext) -> None:
    """The effect, unless it is there."""
    values = {"shard": context.work.shard_id, "token": context.work.token}
    found = session.execute(text("SELECT 1 FROM effects WHERE shard_id = :shard"), values).first()
    if found is None:
        session.execute(text("INSERT INTO effects (shard_id, token) VALUES (:shard, :token)"), values)


def note(context: StageContext, what: str) -> None:
    """A line of the journal, outside any transaction: `shard token pid what`."""
    line = f"{context.work.shard_id} {context.work.token} {os.getpid()} {what}\n"
    with (Path(context.settings.artifacts_dir) / "journal").open("a") as journal:
        journal.write(line)


REGISTRY = dict.fromkeys(StageKind, "tests.faults.stages:work")
