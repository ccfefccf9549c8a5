"""The whole stack as real processes, for tests that kill, stop and restart its parts."""

from __future__ import annotations

import signal
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import httpx
import psutil
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from cli.address import free_port
from cli.stack.home import Home
from cli.stack.process import tail
from cli.stack.stack import Stack, StackOptions
from cli.stack.sweep import marked

Found = TypeVar("Found")

QUICK = {  # leases and pauses short enough that a test sees a rescue within seconds
    "RLAIF_LEASE_S": "3",
    "RLAIF_HEARTBEAT_S": "0.5",
    "RLAIF_RESCUE_S": "0.3",
    "RLAIF_RING_AGAIN_S": "2",
    "RLAIF_STOP_GRACE_S": "2",
}


class RealStack(Stack):
    """`cli.stack.Stack` with the levers of a fault test. Parts: postgres redis api relay worker-io worker-gpu.

    `env["worker-gpu"]["RLAIF_LEASE_S"] = "2"` takes effect at the part's next start; `env["*"]` is for every part.
    Nothing is restarted unless the test does it.
    """

    def __init__(
        self, root: Path, *, io_workers: int = 1, gpu_workers: int = 1, models_dir: Path | None = None
    ) -> None:
        options = StackOptions(
            port=free_port("127.0.0.1"),
            io_workers=io_workers,
            gpu_workers=gpu_workers,
            models_dir=models_dir,
            durable=False,
        )
        super().__init__(Home.at(root), options)
        self.env: defaultdict[str, dict[str, str]] = defaultdict(dict, {"*": dict(QUICK)})

    def environment(self, name: str) -> dict[str, str]:
        return super().environment(name) | self.env["*"] | self.env[name]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "client" in self.__dict__:
            self.client.close()
        for name in list(self.processes):
            self.kill(name)  # nothing of it is needed again, and orderly ends take seconds
        super().__exit__(kind, error, trace)

    @cached_property
    def client(self) -> httpx.Client:
        """A client of the API with the admin key; made when first asked for, which needs the database."""
        return httpx.Client(
            base_url=self.address, headers={"Authorization": f"Bearer {self.api_key()}"}, timeout=httpx.Timeout(40.0)
        )

    @cached_property
    def sessions(self) -> sessionmaker[Session]:
        """Makes sessions on the stack's database, each with a connection of its own: for looking, and for fixtures."""
        return sessionmaker(create_engine(self.database_url, poolclass=NullPool), expire_on_commit=False)

    def kill(self, name: str) -> None:
        """`kill -9` of everything that belongs to the part, its children in other sessions too."""
        for process in marked(self.home, name):
            process.kill()
        self.processes.pop(name).kill()
        self.up.discard(name)

    def restart(self, name: str) -> None:
        """Ask a part to stop, start it again, and wait until it is ready."""
        self.stop(name)
        self.start(name)

    def suspend(self, name: str) -> None:
        """SIGSTOP to everything that belongs to the part."""
        for process in marked(self.home, name):
            process.suspend()

    def resume(self, name: str) -> None:
        """SIGCONT to everything that belongs to the part; what woke first may have ended others by then."""
        for process in marked(self.home, name):
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def terminate(self, name: str) -> None:
        """SIGTERM to the part's leader, without waiting for its end."""
        self.processes[name].signal(signal.SIGTERM)

    def children(self, name: str) -> list[psutil.Process]:
        """The living descendants of a part, such as the child that runs a shard."""
        return [process for process in marked(self.home, name) if process.pid != self.processes[name].pid]

    def logs(self) -> dict[str, str]:
        """The end of every part's log."""
        return {log.stem: tail(log) for log in sorted(self.home.logs.glob("*.log"))}


def wait_for(probe: Callable[[], Found | None], *, what: str, timeout_s: float = 30.0) -> Found:
    """Ask again and again until the answer is true, and return it. Fails naming `what` after the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        if found := probe():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.05)
