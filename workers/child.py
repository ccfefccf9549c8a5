"""The child process of one shard: calls the stage function and tells its supervisor how it ended.

It lives in a session of its own, so that it can be killed with all it started, and dies with its supervisor.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.config import Settings
from app.db.base import storable
from app.db.session import SessionFactory, make_engine, make_session_factory
from app.services import engine
from workers.lease import fenced, is_away
from workers.scratch import scratch_directory
from workers.stages.alarms import AlarmedProgress
from workers.stages.contract import (
    BudgetReached,
    GiveBack,
    LeaseLost,
    Progress,
    ShardWork,
    StageError,
    StageOutcome,
    StageRefused,
)
from workers.stages.registry import stage_function

PR_SET_PDEATHSIG = 1
TRACE_LINES = 12


class How(StrEnum):
    """How a shard's child ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    GIVEN_BACK = "given_back"
    OUT_OF_BUDGET = "out_of_budget"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Ended:
    """A child's last message."""

    how: How
    code: str = ""
    detail: str = ""
    units: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)
    retry_after_s: float | None = None


class Stop:
    """The supervisor's only message: end at the next safe point."""


class PipeProgress:
    """`Progress` over the pipe to the supervisor."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()
        self._stop = threading.Event()

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self.send(engine.Report(step, total, {name: float(value) for name, value in metrics.items()}))

    def should_stop(self) -> bool:
        return self._stop.is_set()

    def send(self, message: engine.Report | Ended) -> None:
        with self._sending:
            self._pipe.send(message)

    def listen(self) -> None:
        """Until the supervisor is gone, and then end everything in this session at once."""
        try:
            while True:
                self._pipe.recv()
                self._stop.set()
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)


class ChildContext:
    """`StageContext` in the child, with a database connection of its own."""

    def __init__(self, work: ShardWork, settings: Settings, progress: PipeProgress, sessions: SessionFactory) -> None:
        self.work = work
        self.settings = settings
        self.progress: Progress = AlarmedProgress(progress, self)
        self._sessions = sessions

    @contextmanager
    def read(self) -> Iterator[Session]:
        with self._sessions() as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with self._sessions.begin() as session:
            fenced(session, self.work.shard_id, self.work.token, lease_s=self.settings.lease_s)
            yield session

    @contextmanager
    def unfenced(self) -> Iterator[Session]:
        with self._sessions.begin() as session:
            yield session

    def scratch(self) -> Path:
        return scratch_directory(self.settings.artifacts_dir, self.work.shard_id, self.work.token)


def main(pipe: Connection, work: ShardWork, settings: Settings) -> None:
    """Run one shard from beginning to end, and say how it went."""
    os.setsid()
    _die_with_fork_server()
    _collect_less()
    faulthandler.enable()
    progress = PipeProgress(pipe)
    threading.Thread(target=progress.listen, daemon=True, name="supervisor-watch").start()
    database = make_engine(settings, pool_size=4)  # a stage reads in two threads and writes in two
    context = ChildContext(work, settings, progress, make_session_factory(database))
    ended = _run(context)
    database.dispose()
    progress.send(ended)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # whatever threads a library left behind


def _run(context: ChildContext) -> Ended:
    try:
        return _succeeded(stage_function(context.settings.stage_registry, context.work.kind)(context))
    except StageRefused as error:
        return _chosen(How.REFUSED, error)
    except GiveBack as error:
        return replace(_chosen(How.GIVEN_BACK, error), retry_after_s=error.retry_after_s)
    except BudgetReached as error:
        return _chosen(How.OUT_OF_BUDGET, error)
    except LeaseLost as error:
        return Ended(How.LOST, "lease_lost", str(error))
    except Exception as error:
        if is_away(error):
            return Ended(How.GIVEN_BACK, "database_away", storable(f"{type(error).__name__}: {error}"))
        return Ended(How.FAILED, type(error).__name__, storable(_trace(error)))


def _succeeded(outcome: StageOutcome) -> Ended:
    """Raises ValueError or TypeError for metrics that are not JSON: found here, they fail this attempt alone."""
    return Ended(How.SUCCEEDED, units=outcome.units, metrics=json.loads(json.dumps(outcome.metrics, allow_nan=False)))


def _chosen(how: How, error: StageError) -> Ended:
    return Ended(how, error.code, storable(error.detail))


def _trace(error: Exception) -> str:
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join([f"{type(error).__name__}: {error}", *lines[-TRACE_LINES:]])


def _collect_less() -> None:
    """What the fork server imported is never garbage, and hundreds of calls in flight look like it to the youngest
    generation: both together cost the judge stage a third of its CPU, and pauses of up to 200 ms."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _die_with_fork_server() -> None:
    """The fork server dies with the worker's process group; the pipe covers every other death of the supervisor."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
