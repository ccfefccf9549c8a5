"""Watches a running stack: a part that has ended is started again, after a pause that grows while it keeps failing."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cli.stack.errors import StackError
from cli.stack.stack import Stack

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
HEALTHY_AFTER_S = 60.0  # a part that ran this long has earned the first pause again


@dataclass
class Watch:
    """One part's recent past. `due` is the time of its next start on the monotonic clock, None while it runs."""

    failures: int = 0
    due: float | None = None


class Supervisor:
    """For a stack that was started. Call `tend` a few times a second: it returns what a person should be told."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.watches = {name: Watch() for name in stack.parts}

    def tend(self) -> list[str]:
        """Notice ends, start what is due, notice readiness. Returns one sentence per change."""
        sentences = [self._tend_one(name, watch) for name, watch in self.watches.items()]
        return [sentence for sentence in sentences if sentence]

    def _tend_one(self, name: str, watch: Watch) -> str | None:
        if watch.due is not None:
            return self._start_when_due(name, watch, due=watch.due)
        process = self.stack.processes[name]
        if process.returncode is not None:
            if time.monotonic() - process.started_at > HEALTHY_AFTER_S:
                watch.failures = 0
            return self._put_down(name, watch, reason=process.describe_end())
        if name not in self.stack.up and process.part.ready():
            self.stack.up.add(name)
            return f"{name} is up (process {process.pid})"
        return None

    def _put_down(self, name: str, watch: Watch, *, reason: str) -> str:
        self.stack.up.discard(name)
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**watch.failures)
        watch.failures, watch.due = watch.failures + 1, time.monotonic() + pause
        return f"{name} {reason}; it starts again in {pause:g} s (log: {self.stack.home.log(name)})"

    def _start_when_due(self, name: str, watch: Watch, *, due: float) -> str | None:
        if time.monotonic() < due:
            return None
        watch.due = None
        try:
            self.stack.launch(name)
        except StackError as error:
            return self._put_down(name, watch, reason=f"could not start: {error}")
        return None
