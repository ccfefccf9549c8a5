"""One part of the stack as an operating-system process: how it is started, asked to stop, and made to stop."""

from __future__ import annotations

import os
import signal as os_signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TAIL_BYTES = 4000
FULL_LOG_BYTES = 16 * 2**20  # a longer log is put aside at the part's next start


@dataclass(frozen=True)
class Part:
    """What to run. `ready` is asked until it is true and must answer at once; `stop_signal` ends the part cleanly."""

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    stop_signal: os_signal.Signals = os_signal.SIGTERM


class Process:
    """A running part: the leader of a session of its own, its output appended to its log."""

    def __init__(self, part: Part, env: Mapping[str, str], *, log: Path) -> None:
        self.part = part
        self.log = log
        self.started_at = time.monotonic()
        if log.exists() and log.stat().st_size > FULL_LOG_BYTES:
            log.rename(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - the argument list is ours
                part.argv, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; the negative signal number when a signal ended it."""
        return self._popen.poll()

    def signal(self, number: os_signal.Signals) -> None:
        """Send a signal to the leader alone."""
        self._popen.send_signal(number)

    def signal_group(self, number: os_signal.Signals) -> None:
        """Send a signal to every process of the part's group, as long as its leader lives and the number is its own."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def ended_by(self, deadline: float) -> bool:
        """Wait until the leader has ended or the deadline on the monotonic clock has passed."""
        try:
            self._popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End the whole group at once and reap the leader."""
        self.signal_group(os_signal.SIGKILL)
        self._popen.wait()

    def describe_end(self) -> str:
        """`exited with status 1` or `was killed by SIGKILL`."""
        code = self.returncode
        if code is not None and code < 0:
            return f"was killed by {os_signal.Signals(-code).name}"
        return f"exited with status {code}"


def tail(log: Path) -> str:
    """The last lines of a log, for an error message."""
    if not log.exists():
        return "(empty)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - TAIL_BYTES))
        return file.read().decode(errors="replace").strip() or "(empty)"
