"""Starts the ranks and watches them: `python -m workers.training.agent TASK_DIRECTORY COUNT [ACCELERATE_CONFIG]`.

It is torchrun, or `accelerate launch` where there is a configuration; one dead rank ends them all. Beside what these do
it writes down who died of what, and dies with the process that started it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from workers.training.rank import PARENT, die_with_parent
from workers.training.task import TaskDirectory

_RANK = "workers.training.rank"


def main(directory: Path, count: int, config: Path | None) -> None:
    """Raises ChildFailedError when a rank died."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    os.environ[PARENT] = str(os.getpid())
    try:
        if config is None:
            _torchrun(directory, count)
        else:
            _accelerate_launch(directory, count, config)
    except ChildFailedError as error:
        TaskDirectory(directory).deaths({rank: failure.exitcode for rank, failure in error.failures.items()})
        raise


def _torchrun(directory: Path, count: int) -> None:
    from torch.distributed.run import parse_args, run

    run(parse_args(["--standalone", "--nproc-per-node", str(count), "-m", _RANK, str(directory)]))  # type: ignore[no-untyped-call]


def _accelerate_launch(directory: Path, count: int, config: Path) -> None:
    """A free port is found each time, so that workers of one machine may train at the same time."""
    from accelerate.commands.launch import launch_command, launch_command_parser

    settings = ["--config_file", str(config), "--num_processes", str(count), "--main_process_port", "0"]
    launch_command(launch_command_parser().parse_args([*settings, "--module", _RANK, str(directory)]))


if __name__ == "__main__":
    die_with_parent()
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
