"""The data directory of one stack: where each thing lies, and the lock that says who runs it."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from cli.private_file import write_private
from cli.stack.errors import AlreadyRunning, StackError

LONGEST_SOCKET = 100  # bytes of a Unix socket's path; Linux allows 107, macOS 103
LONGEST_SOCKET_NAME = len("/.s.PGSQL.5432.lock")


@dataclass(frozen=True)
class Home:
    """The layout under one resolved data directory; every directory is readable by its owner alone."""

    root: Path

    @classmethod
    def at(cls, root: Path) -> Home:
        """Create the directory and its folders where they are missing."""
        home = cls(root.resolve())
        for folder in (home.root, home.logs, home.artifacts):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return home

    @property
    def cluster(self) -> Path:
        return self.root / "postgres"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def lock_file(self) -> Path:
        return self.root / "lock"

    @property
    def api_key_file(self) -> Path:
        return self.root / "api-key"

    def log(self, part: str) -> Path:
        return self.logs / f"{part}.log"

    def ready_file(self, part: str) -> Path:
        """The file by which a part without a socket says that it has begun its work."""
        return self.root / f"{part}.ready"

    def sockets(self) -> Path:
        """The directory of the Unix sockets: inside the data directory, or a short one where that path is too long.

        Raises StackError when the short directory belongs to somebody else.
        """
        folder = self.root / "run"
        if len(os.fsencode(folder)) + LONGEST_SOCKET_NAME > LONGEST_SOCKET:
            digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:10]
            folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"rlaif-{os.getuid()}-{digest}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if status.st_uid != os.getuid() or status.st_mode & 0o077 or folder.is_symlink():
            raise StackError(f"{folder} is not a private directory of user {os.getuid()}; remove it and start again")
        return folder

    def secret_key(self) -> str:
        """The key that encrypts stored secrets, made on first use: urlsafe base64 of 32 bytes."""
        path = self.root / "secret-key"
        if not path.exists():
            write_private(path, base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
        return path.read_text().strip()


class Lock:
    """An advisory lock on the data directory; the kernel drops it with the last process that holds the descriptor."""

    def __init__(self, home: Home, *, patience_s: float = 30.0) -> None:
        """Take the lock. Waits for a guard that is still clearing up after a dead holder, raises AlreadyRunning
        for a living one."""
        self.descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(home, time.monotonic() + patience_s)
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
        except BaseException:
            self.release()
            raise

    def _take(self, home: Home, deadline: float) -> None:
        while True:
            try:
                return fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = holder(home)
                if time.monotonic() > deadline or (pid is not None and _is_alive(pid)):
                    raise AlreadyRunning(home.root, pid=pid) from None
                time.sleep(0.05)

    def release(self) -> None:
        os.close(self.descriptor)


def _is_alive(pid: int) -> bool:
    """A killed process that nobody has waited for still has a pid, but it does nothing more."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def holder(home: Home) -> int | None:
    """The process that wrote itself into the lock file last, alive or not."""
    try:
        return int(json.loads(home.lock_file.read_text())["pid"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
