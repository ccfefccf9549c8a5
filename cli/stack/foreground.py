"""Runs a stack in the foreground of a terminal until a signal asks for its end."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cli.stack.stack import Stack
from cli.stack.supervisor import Supervisor

TICK_S = 0.2
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(stack: Stack, console: Console) -> None:
    """Start, supervise and stop the stack. Raises StackError when it cannot start."""
    with _signals(stack), stack:
        with Live(console=console, get_renderable=partial(_status_line, stack), transient=True):
            _start(stack, console)
            _supervise(stack, console)
        console.print("stopping")
    console.print("stopped")


def _start(stack: Stack, console: Console) -> None:
    """Bring everything up, show the admin key the one time that it is new, and say how it is used."""
    started = time.monotonic()
    file = stack.home.api_key_file
    known = file.exists() and file.read_text()
    stack.start_all()
    console.print(f"ready in {time.monotonic() - started:.1f} s at {stack.address}")
    if file.read_text() != known:
        console.print(f"API key, shown this once: {stack.api_key()}", markup=False)
    console.print(f'try: curl -H "Authorization: Bearer $(cat {file})" {stack.address}/v1/runs', markup=False)


def _supervise(stack: Stack, console: Console) -> None:
    supervisor = Supervisor(stack)
    while not stack.interrupted.wait(TICK_S):
        for sentence in supervisor.tend():
            console.print(sentence, markup=False)


@contextmanager
def _signals(stack: Stack) -> Iterator[None]:
    """The first signal, a closed terminal included, asks for an orderly end; the second kills what is still there."""

    def note(number: int, frame: FrameType | None) -> None:
        if stack.interrupted.is_set():
            for process in list(stack.processes.values()):
                process.signal_group(signal.SIGKILL)
        stack.interrupted.set()

    before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _status_line(stack: Stack) -> Text:
    """Green: up. Yellow: started and not ready yet. Grey: not started."""
    line = Text()
    for name in stack.parts:
        colour = "green" if name in stack.up else "yellow" if name in stack.processes else "bright_black"
        line.append("● ", style=colour).append(f"{name}  ")
    return line.append("ctrl-C stops all", style="dim")
