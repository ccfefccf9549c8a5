"""Warm children: a fork server that has imported what shards need, has run no torch operation (a fork after one hangs),
and has left CUDA untouched."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess

from app.config import Settings
from app.rlaif.pipeline import Queue
from app.services.engine import Report
from workers import child
from workers.child import Ended, Stop
from workers.stages.contract import ShardWork

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads cost 2.4 times on a busy machine
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",  # models come from the artifact store, never from the network
}
DATABASE_MODULES = ("psycopg", "sqlalchemy.dialects.postgresql.psycopg")
IO_MODULES = (
    *DATABASE_MODULES,
    "workers.child",
    "workers.stages.judge",
    "workers.stages.prefer",
    "workers.judges.build",
)
GPU_MODULES = (
    *IO_MODULES,
    "torch",
    "transformers.modeling_utils",  # lazily imported, it would cost each child five seconds
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "workers.sampling.transformers",
    "workers.training.dpo",
    "workers.training.reward_model",
    "workers.stages.sample",
    "workers.stages.reward_model",
    "workers.stages.policy",
    "workers.stages.evaluate",
)

KILL_WAIT_S = 5.0

_context = multiprocessing.get_context("forkserver")
_starting = threading.Lock()


def warm(queues: Collection[Queue]) -> None:
    """Start the fork server and wait until it is warm. Once a process, before any shard."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    _forget_command_line()
    forkserver.set_forkserver_preload(list(GPU_MODULES if Queue.GPU in queues else IO_MODULES))
    first = _context.Process(target=os.getpid)
    first.start()
    first.join()


def _forget_command_line() -> None:
    """Otherwise every child would run the main module again before its work."""
    main = sys.modules["__main__"]
    main.__spec__ = None
    main.__dict__.pop("__file__", None)


class Child:
    """The supervisor's handle of one child process."""

    def __init__(self, work: ShardWork, settings: Settings) -> None:
        self._pipe, theirs = _context.Pipe()
        self._process: ForkServerProcess = _context.Process(target=child.main, args=(theirs, work, settings))
        with _starting:  # starting one looks at the others' ends, which only one thread may read
            self._process.start()
        theirs.close()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def messages(self, *, timeout_s: float) -> Iterator[Report | Ended]:
        """What has come from the child, after waiting for anything to come."""
        wait([self._pipe, self._process.sentinel], timeout_s)
        try:
            while self._pipe.poll():
                yield self._pipe.recv()
        except (EOFError, OSError):
            return

    def exitcode(self) -> int | None:
        """None while it runs; negative for the signal that killed it."""
        with _starting:
            return self._process.exitcode

    def ask_to_stop(self) -> None:
        try:
            self._pipe.send(Stop())
        except OSError:  # it has just ended by itself
            return

    def kill(self) -> None:
        """End the child and everything in its session, if it still runs. A hung driver may keep it beyond the wait;
        the fence holds against it all the same."""
        if self.exitcode() is None and self.pid is not None:
            _kill_group(self.pid)
            wait([self._process.sentinel], KILL_WAIT_S)
        self._pipe.close()


def _kill_group(pid: int) -> None:
    for end in (os.killpg, os.kill):  # the second for a child that has no session of its own yet
        try:
            end(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
