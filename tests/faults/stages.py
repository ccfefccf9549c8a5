"""Stages for fault tests: tiny work whose every effect and every call is counted.

An effect is a row of a table without a unique key, added only where it is missing: with a working fence each comes
once. The recipe's seed says what the work does, so that a test can ask for trouble.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from enum import IntEnum
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.rlaif.recipe import StageKind
from workers.stages.contract import JUDGE_UNAVAILABLE, GiveBack, LeaseLost, StageContext, StageOutcome, StageRefused

EFFECTS = (
    "CREATE TABLE effects (shard_id text NOT NULL, token bigint NOT NULL, at timestamptz DEFAULT clock_timestamp())"
)


class Work(IntEnum):
    """What a shard does before its effect, by the seed of its recipe."""

    QUICK = 0
    SLOW = 1  # half a second
    LONG = 2  # until it is asked to stop
    DEAF = 3  # until it is killed, and so does a process that it starts
    GATED = 4  # until the file `gate` is there
    LASTING = 5  # six seconds: twice a test's lease
    RAISE = 6
    REFUSE = 7
    DIE_ONCE = 8
    FIRST_DIES = 9  # the shard at position 0 always dies, the others are quick
    AWAY = 10  # its judge is down, which takes a second to find out, until the file `gate` is there


def work(context: StageContext) -> StageOutcome:
    """Trouble, then one effect under the fence."""
    note(context, "called")
    trouble(context)
    try:
        with context.transaction() as session:
            add_effect(session, context)
    except LeaseLost:
        note(context, "fenced")
        raise
    note(context, "done")
    return StageOutcome(1)


def unfenced(context: StageContext) -> StageOutcome:
    """The mutant: the same work, written without the fence."""
    note(context, "called")
    trouble(context)
    with context.read() as session:
        session.execute(
            text("INSERT INTO effects (shard_id, token) VALUES (:shard, :token)"),
            {"shard": context.work.shard_id, "token": context.work.token},
        )
        session.commit()
    note(context, "done")
    return StageOutcome(1)


def trouble(context: StageContext) -> None:
    """What the recipe's seed asks for."""
    kind, shard = Work(context.work.recipe.seed), context.work
    if kind in SECONDS:
        wait(context, SECONDS[kind])
    elif kind is Work.DEAF:
        subprocess.Popen(["sleep", "600"])
        wait(context, 600, deaf=True)
    elif kind is Work.GATED:
        while not (context.settings.artifacts_dir / "gate").exists():
            time.sleep(0.05)
    elif kind is Work.AWAY and not (context.settings.artifacts_dir / "gate").exists():
        time.sleep(1.0)
        note(context, "away")
        raise GiveBack(JUDGE_UNAVAILABLE, "the judge is down", retry_after_s=SENT_AWAY_S)
    elif kind is Work.RAISE:
        raise RuntimeError("the work cannot be done")
    elif kind is Work.REFUSE:
        raise StageRefused("no_use", "trying again cannot help")
    elif (kind is Work.DIE_ONCE and shard.attempt == 1) or (kind is Work.FIRST_DIES and shard.position == 0):
        os.kill(os.getpid(), signal.SIGKILL)


SENT_AWAY_S = 4.0
SECONDS = {Work.SLOW: 0.5, Work.LONG: 600.0, Work.LASTING: 6.0}


def wait(context: StageContext, seconds: float, *, deaf: bool = False) -> None:
    """Long work that reports, and can be asked to stop unless it is deaf."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        context.progress.report(1, 2, {"loss": 0.5})
        if context.progress.should_stop() and not deaf:
            note(context, "stopped")
            raise GiveBack("stopped", "asked to stop")
        time.sleep(0.1)


def add_effect(session: Session, context: StageContext) -> None:
    """The effect, unless it is there."""
    values = {"shard": context.work.shard_id, "token": context.work.token}
    if session.execute(text("SELECT 1 FROM effects WHERE shard_id = :shard"), values).first() is None:
        session.execute(text("INSERT INTO effects (shard_id, token) VALUES (:shard, :token)"), values)


def note(context: StageContext, what: str) -> None:
    """A line of the journal, outside any transaction: `shard token pid what`."""
    line = f"{context.work.shard_id} {context.work.token} {os.getpid()} {what}\n"
    with (Path(context.settings.artifacts_dir) / "journal").open("a") as journal:
        journal.write(line)


REGISTRY = dict.fromkeys(StageKind, "tests.faults.stages:work")
UNFENCED = dict.fromkeys(StageKind, "tests.faults.stages:unfenced")
