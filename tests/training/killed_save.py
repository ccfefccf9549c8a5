"""Saves that die by SIGKILL at each of their lines: `python -m tests.training.killed_save TEMPLATE VICTIMS STEP ...`.

Imports everything first and computes nothing, so that each victim is a cheap fork.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from workers.training import state


def some_state(step: int) -> state.TrainingState:
    return state.TrainingState(step, {"weights": torch.full((1000,), float(step))}, {"fingerprint": "f"})


def die_in(function: Callable[[], object]) -> int:
    """Run `function` in a fork; the signal that ended it, 0 when it returned."""
    child = os.fork()
    if child == 0:
        function()
        os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def kill_at_line(number: int) -> None:
    """Arm this process to die before the `number`-th line that it executes in `state.py`."""
    left = number

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != state.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def save(root: Path, step: int, *, line: int) -> None:
    kill_at_line(line)
    state.save_state(root, some_state(step))


def saves(template: Path, victims: Path, step: int) -> None:
    """Save `step` over copies `victims/1`, `victims/2`, ... of `template`, each killed one line later."""
    for line in range(1, 1000):
        victim = victims / str(line)
        shutil.copytree(template, victim)
        if die_in(lambda victim=victim, line=line: save(victim, step, line=line)) == 0:  # type: ignore[misc]
            return
    raise RuntimeError(f"the save in {victim} has more than a thousand lines")


if __name__ == "__main__":
    for at in range(1, len(sys.argv), 3):
        saves(Path(sys.argv[at]), Path(sys.argv[at + 1]), int(sys.argv[at + 2]))
