"""Where things are broken: real servers, relays and workers, runs to submit to them, and eyes on what happens."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from app.db.models import Run, RunStatus, Shard
from app.services import engine
from cli.stack.process import Part
from tests.faults import checker
from tests.faults.checker import Finding
from tests.faults.stages import EFFECTS, Work
from tests.runs import submit
from tests.stack import RealStack, wait_for

USUAL = ("postgres", "redis", "relay", "worker-io")


@dataclass(frozen=True, slots=True)
class Note:
    """A line of the stages' journal."""

    shard_id: str
    token: int
    pid: int
    what: str


class Arena:
    """One stack for many tests; `reset()` before each."""

    def __init__(self, root: Path) -> None:
        self.stack = RealStack(root, io_workers=2)
        self.stack.env["*"]["RLAIF_STAGE_REGISTRY"] = "tests.faults.stages:REGISTRY"
        self._usual_env = dict(self.stack.env["*"])

    def open(self) -> None:
        self.stack.start_servers()
        with self.engine.begin() as connection:
            connection.execute(text(EFFECTS))

    @cached_property
    def engine(self) -> Engine:
        return create_engine(self.stack.database_url, poolclass=NullPool)

    @cached_property
    def sessions(self) -> sessionmaker[Session]:
        return sessionmaker(self.engine, expire_on_commit=False)

    def reset(self) -> None:
        """Empty tables, an empty broker, the usual parts running, and no others."""
        self.stack.env["*"] = dict(self._usual_env)
        if others := [name for name in self.stack.processes if name not in USUAL]:
            self.stack.stop(*others)
        self.stack.start(*(name for name in USUAL if not self.is_running(name)))
        wait_for(self._empty, what="emptied tables")
        with self.redis() as broker:
            broker.flushall()
        for name in ("journal", "gate"):
            (self.stack.home.artifacts / name).unlink(missing_ok=True)
        self.stack.home.artifacts.mkdir(exist_ok=True)

    def _empty(self) -> bool:
        """False when it met a transaction of the running parts head-on; the next try does it."""
        try:
            with self.engine.begin() as connection:
                connection.execute(text("TRUNCATE projects, outbox, effects CASCADE"))
        except OperationalError:
            return False
        return True

    def is_running(self, name: str) -> bool:
        return name in self.stack.processes and self.stack.processes[name].returncode is None

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.stack.redis_url, socket_timeout=2, socket_connect_timeout=2)

    def part(self, name: str, *command: str) -> None:
        """Add a part of its own, such as a second relay; `command` follows `python -m`."""
        ready = self.stack.home.ready_file(name).exists
        self.stack.parts[name] = Part(name, (sys.executable, "-P", "-m", *command), ready)

    def kill_group(self, name: str) -> None:
        """`kill -9` of the process group alone: what the part started elsewhere must end by itself."""
        self.stack.processes.pop(name).kill()

    def submit(self, shards: int = 1, work: Work = Work.QUICK, **recipe: Any) -> str:
        """An accepted run, whose shards all wait in the `io` queue."""
        with self.sessions.begin() as session:
            imports = {"sample": {"source": "prompt_set", "prompts_per_shard": 1}}
            return submit(session, shards=shards, **({"seed": int(work)} | imports | recipe)).id

    def cancel(self, run_id: str) -> None:
        with self.sessions.begin() as session:
            engine.request_cancel(session, session.get_one(Run, run_id))

    def pause(self, run_id: str) -> None:
        with self.sessions.begin() as session:
            engine.request_pause(session, session.get_one(Run, run_id), "a test")

    def resume(self, run_id: str) -> None:
        with self.sessions.begin() as session:
            engine.resume(session, session.get_one(Run, run_id))

    def run(self, run_id: str) -> Run:
        with self.sessions() as session:
            return session.get_one(Run, run_id)

    def shards(self, run_id: str) -> list[Shard]:
        with self.sessions() as session:
            return session.query(Shard).filter_by(run_id=run_id).order_by(Shard.phase, Shard.position).all()

    def wait(self, run_id: str, status: RunStatus, *, timeout_s: float = 60) -> Run:
        """The run, once it has the status; fails at once when it has ended otherwise."""

        def probe() -> Run | None:
            run = self.run(run_id)
            assert run.status is status or not run.status.terminal, f"{run.status}: {run.error}"
            return run if run.status is status else None

        return wait_for(probe, what=f"run {run_id} {status}", timeout_s=timeout_s)

    def wait_done(self, run_id: str, count: int, *, timeout_s: float = 60) -> None:
        """Until so many of the run's shards have succeeded."""
        wait_for(lambda: self.done(run_id) >= count, what=f"{count} shards done", timeout_s=timeout_s)

    def done(self, run_id: str) -> int:
        return sum(shard.status == "succeeded" for shard in self.shards(run_id))

    def journal(self, what: str | None = None) -> list[Note]:
        path = self.stack.home.artifacts / "journal"
        lines = path.read_text().splitlines() if path.exists() else []
        notes = [Note(shard, int(token), int(pid), said) for shard, token, pid, said in map(str.split, lines)]
        return [note for note in notes if what in (None, note.what)]

    def wait_note(self, what: str, *, count: int = 1, timeout_s: float = 30) -> Note:
        """The latest note of a kind, once there are so many."""
        wait_for(lambda: len(self.journal(what)) >= count, what=f"{count} notes {what!r}", timeout_s=timeout_s)
        return self.journal(what)[-1]

    def queue_length(self) -> int:
        with self.redis() as broker:
            return int(broker.llen("io"))

    def outbox_length(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(text("SELECT count(*) FROM outbox")) or 0)

    def open_gate(self) -> None:
        (self.stack.home.artifacts / "gate").touch()

    def find(self, *run_ids: str) -> Finding:
        return checker.find(self.engine, run_ids)

    def check(self, *run_ids: str) -> Finding:
        """Nothing lost, nothing twice, every invariant holds."""
        finding = self.find(*run_ids)
        assert finding.clean, finding
        self.check_invariants()
        return finding

    def check_invariants(self) -> None:
        broken = checker.broken_invariants(self.engine)
        assert not broken, broken


def tokens(notes: Sequence[Note]) -> list[int]:
    return [note.token for note in notes]
