"""The whole stack on one machine: which parts there are, in which order they start, and how all of them end."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from app.config import Settings
from cli.address import is_free, local_url
from cli.first_key import kept_key
from cli.stack.errors import Interrupted, PartFailed, PortInUse
from cli.stack.guard import Guard
from cli.stack.home import Home, Lock
from cli.stack.postgres import Postgres
from cli.stack.process import Part, Process, tail
from cli.stack.ready import READY_FILE
from cli.stack.redis import Redis, require_ping
from cli.stack.schema import migrate
from cli.stack.sweep import SERVERS, end_part, mark, sweep

START_TIMEOUT_S = 90.0
STOP_GRACE_S = 10.0
POLL_S = 0.05


@dataclass(frozen=True)
class StackOptions:
    """What a user may choose. A URL given here replaces the embedded server; `durable=False` is for data that is
    thrown away: tests, the demo."""

    database_url: str | None = None
    redis_url: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    io_workers: int = 1
    gpu_workers: int = 1
    models_dir: Path | None = None
    durable: bool = True


class Stack:
    """Parts by name in start order, and the running process of each.

    Use as a context manager: on entry it takes the directory's lock, ends what a killed predecessor left, and sets the
    guard; on exit it stops every part.
    """

    def __init__(self, home: Home, options: StackOptions) -> None:
        self.home = home
        self.options = options
        self.postgres = None if options.database_url else Postgres(home, durable=options.durable)
        self.redis = None if options.redis_url else Redis(home)
        self.parts: dict[str, Part] = {part.name: part for part in self._parts()}
        self.processes: dict[str, Process] = {}
        self.up: set[str] = set()  # parts that have been ready since their last launch
        self.interrupted = threading.Event()

    @property
    def database_url(self) -> str:
        return self.options.database_url or (self.postgres.url() if self.postgres else "")

    @property
    def redis_url(self) -> str:
        return self.options.redis_url or (self.redis.url if self.redis else "")

    @property
    def address(self) -> str:
        """The API's base URL as reached from this machine."""
        return local_url(self.options.host, self.options.port)

    def _parts(self) -> Iterable[Part]:
        if self.postgres:
            yield self.postgres.part()
        if self.redis:
            yield self.redis.part()
        yield self._own("api", "serve", ready=self._api_ready)
        yield self._own("relay", "relay", ready=self._announced("relay"))
        for queue, count in (("io", self.options.io_workers), ("gpu", self.options.gpu_workers)):
            for number in range(1, count + 1):
                name = f"worker-{queue}" if number == 1 else f"worker-{queue}-{number}"
                yield self._own(name, "worker", "--queues", queue, "--name", name, ready=self._announced(name))

    def api_key(self) -> str:
        """The admin key of the project `default`, kept in the data directory. The database must be up."""
        return kept_key(Settings(database_url=self.database_url), self.home.api_key_file)

    def _own(self, name: str, *command: str, ready: Callable[[], bool]) -> Part:
        return Part(name, (sys.executable, "-P", "-m", "cli.main", *command), ready)

    def _api_ready(self) -> bool:
        """Its own word first: what answers on the port could be somebody else's server."""
        if not self.home.ready_file("api").exists():
            return False
        try:
            return httpx.get(f"{self.address}/readyz", timeout=2.0).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _announced(self, name: str) -> Callable[[], bool]:
        return self.home.ready_file(name).exists

    def environment(self, name: str) -> dict[str, str]:
        """The environment of one part: the caller's own, our settings over it, and the mark of the sweep."""
        if name in SERVERS:
            return dict(os.environ) | mark(self.home, name)
        ready = {READY_FILE: str(self.home.ready_file(name))}
        return dict(os.environ) | self.settings() | mark(self.home, name) | ready

    def settings(self) -> dict[str, str]:
        """Settings of this stack's own processes as RLAIF_* variables."""
        models = {"RLAIF_MODELS_DIR": str(self.options.models_dir.resolve())} if self.options.models_dir else {}
        return models | {
            "RLAIF_DATABASE_URL": self.database_url,
            "RLAIF_REDIS_URL": self.redis_url,
            "RLAIF_ARTIFACTS_DIR": str(self.home.artifacts),
            "RLAIF_SECRET_KEY": self.home.secret_key(),
            "RLAIF_HOST": self.options.host,
            "RLAIF_PORT": str(self.options.port),
        }

    def __enter__(self) -> Self:
        self._lock = Lock(self.home)
        try:
            sweep(self.home)
            self.home.sockets()  # the one made on construction may have gone with the last holder
            self._guard = Guard(self.home, self._lock)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._guard.dismiss()
            shutil.rmtree(self.home.sockets())
            self._lock.release()

    def start_all(self) -> None:
        """Start everything in order: the servers and the schema, then our processes side by side. Errors as `start`,
        and PortInUse.

        The first key is made before the API starts, which refuses a public address while there is none.
        """
        if not is_free(self.options.host, self.options.port):
            raise PortInUse(self.options.host, port=self.options.port)
        self.start_servers()
        self.api_key()
        self.start(*(name for name in self.parts if name not in SERVERS))

    def start_servers(self) -> None:
        """Start what is embedded of PostgreSQL and Redis, and bring the database to the newest schema.

        Raises PartFailed, or ServerUnreachable for a server named by URL.
        """
        self.start(*(name for name in self.parts if name in SERVERS))
        if self.postgres:
            self.postgres.ensure_database()
        require_ping(self.redis_url)
        migrate(self.database_url)

    def start(self, *names: str) -> None:
        """Start these parts and wait until each is ready. Raises PartFailed with the end of its log, or Interrupted."""
        for name in names:
            self.launch(name)
        for name in names:
            self.wait_ready(name)

    def launch(self, name: str) -> None:
        """Start one part without waiting for it; its last process and what is left of it are ended first."""
        if name in self.processes:
            self.processes.pop(name).kill()
        end_part(self.home, name)
        self.up.discard(name)
        self.home.ready_file(name).unlink(missing_ok=True)
        if name == "postgres" and self.postgres:
            self.postgres.prepare()
        self.processes[name] = Process(self.parts[name], self.environment(name), log=self.home.log(name))

    def wait_ready(self, name: str, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Block until the part is ready. Raises PartFailed or Interrupted."""
        process = self.processes[name]
        deadline = time.monotonic() + timeout_s
        while not process.part.ready():
            if self.interrupted.is_set():
                raise Interrupted(f"interrupted while {name} was starting")
            if process.returncode is not None:
                raise PartFailed(name, reason=process.describe_end(), log=process.log, tail=tail(process.log))
            if time.monotonic() > deadline:
                reason = f"was not ready within {timeout_s:.0f} s"
                raise PartFailed(name, reason=reason, log=process.log, tail=tail(process.log))
            time.sleep(POLL_S)
        self.up.add(name)

    def stop(self, *names: str) -> None:
        """Stop these parts, or all: the project's own first, the servers last, each group within STOP_GRACE_S.

        A part that has not ended by then is killed.
        """
        chosen = [name for name in reversed(self.processes) if name in names or not names]
        for servers in (False, True):
            self._stop_group([name for name in chosen if (name in SERVERS) is servers])

    def _stop_group(self, names: list[str]) -> None:
        for name in names:
            self.processes[name].signal(self.parts[name].stop_signal)
        deadline = time.monotonic() + STOP_GRACE_S
        for name in names:
            if not self.processes[name].ended_by(deadline):
                self.processes[name].kill()
            end_part(self.home, name)
            del self.processes[name]
            self.up.discard(name)
