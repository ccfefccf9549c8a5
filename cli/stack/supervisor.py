"""Watches a running stack: a part that has ended is started again, after a pause that grows while it keeps failing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum

from cli.stack.errors import StackError
from cli.stack.stack import Stack

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
HEALTHY_AFTER_S = 60.0  # a part that ran this long has earned the first pause again


class State(StrEnum):
    """What the status line shows of a part."""

    STARTING = "starting"
    UP = "up"
    DOWN = "down"


@dataclass
class Watch:
    """One part's recent past. `due` is the time of the next start on the monotonic clock while it is down."""

    state: State = State.UP
    failures: int = 0
    due: float = 0.0


class Supervisor:
    """For a stack whose parts are up. Call `tend` a few times a second: it returns what a person should be told."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.watches = {name: Watch() for name in stack.parts}

    def tend(self) -> list[str]:
        """Notice ends, start what is due, notice readiness. Returns one sentence per change."""
        sentences = [self._tend_one(name, watch) for name, watch in self.watches.items()]
        return [sentence for sentence in sentences if sentence]

    def _tend_one(self, name: str, watch: Watch) -> str | None:
        if watch.state is State.DOWN:
            return self._start_when_due(name, watch)
        process = self.stack.processes[name]
        if process.returncode is not None:
            if time.monotonic() - process.started_at > HEALTHY_AFTER_S:
                watch.failures = 0
            return self._put_down(name, watch, reason=process.describe_end())
        if watch.state is State.STARTING and process.part.ready():
            watch.state = State.UP
            return f"{name} is up (process {process.pid})"
        return None

    def _put_down(self, name: str, watch: Watch, *, reason: str) -> str:
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**watch.failures)
        watch.state, watch.failures, watch.due = State.DOWN, watch.failures + 1, time.monotonic() + pause
        return f"{name} {reason}; it starts again in {pause:g} s (log: {self.stack.home.log(name)})"

    def _start_when_due(self, name: str, watch: Watch) -> str | None:
        if time.monotonic() < watch.due:
            return None
        try:
            self.stack.launch(name)
        except StackError as error:
            return self._put_down(name, watch, reason=f"could not start: {error}")
        watch.state = State.STARTING
        return None
