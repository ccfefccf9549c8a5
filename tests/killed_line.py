"""Processes that die by SIGKILL at a line of a module of ours."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any


def kill_at_line(module: ModuleType, number: int) -> None:
    """Arm this process to die before the `number`-th line that it executes in the module."""
    left = number

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def die_in(function: Callable[[], object]) -> int:
    """Run `function` in a fork; the signal that ended it, 0 when it returned."""
    child = os.fork()
    if child == 0:
        function()
        os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])
