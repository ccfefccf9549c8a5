"""Runs a stack in the foreground of a terminal until a signal asks for its end."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cli.stack.stack import Stack
from cli.stack.supervisor import State, Supervisor

TICK_S = 0.2
COLOURS = {State.STARTING: "yellow", State.UP: "green", State.DOWN: "red"}


def run(stack: Stack, console: Console) -> None:
    """Start, supervise and stop the stack. Raises StackError when it cannot start."""
    with _signals(stack), stack:
        started = time.monotonic()
        file = stack.home.api_key_file
        known = file.exists() and file.read_text()
        stack.start_all()
        console.print(f"ready in {time.monotonic() - started:.1f} s at {stack.address}")
        if file.read_text() != known:
            console.print(f"API key, shown this once: {stack.api_key()}", markup=False)
        console.print(f'try: curl -H "Authorization: Bearer $(cat {file})" {stack.address}/v1/runs', markup=False)
        _supervise(stack, console)
        console.print("stopping")
    console.print("stopped")


def _supervise(stack: Stack, console: Console) -> None:
    supervisor = Supervisor(stack)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while not stack.interrupted.wait(TICK_S):
            for sentence in supervisor.tend():
                console.print(sentence)
            live.update(_status_line(supervisor))


@contextmanager
def _signals(stack: Stack) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks for an orderly end, the second kills what is still there."""

    def note(number: int, frame: FrameType | None) -> None:
        if stack.interrupted.is_set():
            for process in list(stack.processes.values()):
                process.signal_group(signal.SIGKILL)
        stack.interrupted.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _status_line(supervisor: Supervisor) -> Text:
    line = Text()
    for name, watch in supervisor.watches.items():
        line.append("● ", style=COLOURS[watch.state]).append(f"{name}  ")
    return line.append("ctrl-C stops all", style="dim")
