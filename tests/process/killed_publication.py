"""Publications that die by SIGKILL at each of their lines: `python -m tests.process.killed_publication SOURCE STORES`.

Each store `STORES/1`, `STORES/2`, ... is left as the kill left it; the last one's publication came through.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from app import storage
from app.storage import ArtifactStore

KEY = "checkpoints/run/policy"


def kill_at_line(number: int) -> None:
    """Arm this process to die before the `number`-th line that it executes in `storage.py`."""
    left = number

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != storage.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def dies(source: Path, root: Path, *, line: int) -> bool:
    """Publish in a fork; whether the kill came before its end."""
    child = os.fork()
    if child == 0:
        kill_at_line(line)
        ArtifactStore(root).publish(KEY, source)
        os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def main(source: Path, stores: Path) -> None:
    line = 1
    while dies(source, stores / str(line), line=line):
        line += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
