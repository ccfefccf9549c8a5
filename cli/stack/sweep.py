"""Finds and ends the processes of a stack by the mark in their environment, whoever started them and however.

The mark is inherited by every descendant, so it also finds what outlived a `kill -9` of its parent.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from contextlib import suppress

import psutil

from cli.stack.home import Home

STACK_MARK = "RLAIF_STACK"
PART_MARK = "RLAIF_PART"
SERVERS = ("postgres", "redis")
GRACE_S = 8.0


def mark(home: Home, part: str) -> dict[str, str]:
    """The environment variables that every process of this part carries."""
    return {STACK_MARK: str(home.root), PART_MARK: part}


def marked(home: Home, part: str | None = None) -> dict[psutil.Process, str]:
    """Living processes of the stack, or of one part of it, with their part's name."""
    found = {}
    for process in psutil.process_iter():
        name = _part_of(process, home)
        if name is not None and part in (None, name):
            found[process] = name
    return found


def _part_of(process: psutil.Process, home: Home) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        environment = process.environ()
    except (psutil.Error, OSError):
        return None  # gone, or another user's and so not ours
    return environment.get(PART_MARK) if environment.get(STACK_MARK) == str(home.root) else None


def sweep(home: Home) -> list[str]:
    """End every process of the stack: the project's own first, then the servers they depend on.

    Returns the names of the parts of which something had to be ended. Takes at most about twice GRACE_S.
    """
    names = set(marked(home).values())
    for servers in (False, True):
        _end({p: name for p, name in marked(home).items() if (name in SERVERS) is servers})
    return sorted(names)


def end_part(home: Home, part: str) -> None:
    """Kill what is left of one part whose leader has ended, such as a shard's child."""
    _kill(list(marked(home, part)))


def _end(processes: dict[psutil.Process, str]) -> None:
    """Ask the leaders to stop, for it is they who stop their children in good order; kill what is left."""
    pids = {process.pid for process in processes}
    for process, name in processes.items():
        if _parent(process) not in pids:
            _send(process, signal.SIGINT if name == "postgres" else signal.SIGTERM)
    _, alive = psutil.wait_procs(list(processes), timeout=GRACE_S)
    _kill(alive)


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(processes, timeout=GRACE_S)


def _parent(process: psutil.Process) -> int | None:
    try:
        return int(process.ppid())
    except psutil.NoSuchProcess:
        return None


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)
