"""One of the processes that train together: `python -m workers.training.rank TASK_DIRECTORY`, started by a launcher.

It dies with the launcher, whatever kills that: ranks left alone would hold GPUs and write beside the next attempt.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PARENT = "RLAIF_TRAINING_PARENT"
"""The environment variable by which a launcher tells its process id to what it starts."""


def die_with_parent() -> None:
    """From now on; and at once where the parent has died before."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(os.environ[PARENT]):
        os.kill(os.getpid(), signal.SIGKILL)


def main(directory: Path) -> None:
    """Train; the first rank writes down the end. What no training should raise goes through and fails the launch."""
    from torch import distributed

    from workers.training import ranks
    from workers.training.accelerated import join
    from workers.training.task import TaskDirectory, is_contracted

    task = TaskDirectory(directory)
    progress = ranks.SharedProgress(task, join())
    try:
        result = task.call(progress)
        if ranks.is_first():
            task.succeed(result)
    except Exception as error:
        if not is_contracted(error):
            task.fail(ranks.index(), error)
            raise
        if ranks.is_first():
            task.end_with(error)
    distributed.destroy_process_group()


if __name__ == "__main__":
    die_with_parent()
    main(Path(sys.argv[1]))
