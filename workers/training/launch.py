"""Training in many processes of this machine: `spread(train_dpo, processes)` is called as `train_dpo` is.

The caller computes nothing and touches no GPU; it hands on what the first rank reports, and the wish to stop.
"""

from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_type_hints

from workers.training.contracts import ProcessesRefused, Progress, RanksFailed
from workers.training.rank import PARENT
from workers.training.task import Failure, TaskDirectory

P = ParamSpec("P")
ResultT = TypeVar("ResultT")

_POLL_S = 0.1
_SPREADS = frozenset({"DEEPSPEED", "FSDP", "MULTI_GPU"})


@dataclass(frozen=True)
class Processes:
    """How many train together, and the accelerate configuration that says how the model is spread over them."""

    count: int = 1
    accelerate_config: Path | None = None


def spread(train: Callable[P, ResultT], processes: Processes) -> Callable[P, ResultT]:
    """`train`, in that many processes; it has parameters `out_dir` and `progress`, and everything else becomes JSON.

    Beside what `train` raises, a call raises `ProcessesRefused` before anything is started, and `RanksFailed` when a
    rank died: what was saved by then, the same call goes on from, in any number of processes.
    """
    if processes.count == 1:
        return train

    @wraps(train)
    def launched(*args: P.args, **kwargs: P.kwargs) -> ResultT:
        _require_room(processes)
        arguments = inspect.signature(train).bind(*args, **kwargs).arguments
        task = TaskDirectory(arguments["out_dir"] / ".state" / "ranks")
        task.write(train, arguments)
        _run(task, processes, arguments["progress"])
        result: ResultT = _outcome(task, processes, get_type_hints(train)["return"])
        return result

    return launched


def _require_room(processes: Processes) -> None:
    """Raises `ProcessesRefused`."""
    import torch

    if 0 < torch.cuda.device_count() < processes.count:
        seen = torch.cuda.device_count()
        raise ProcessesRefused(
            f"RLAIF_TRAINING_PROCESSES is {processes.count}, but this worker sees {seen} GPU(s) and each process needs "
            "one; lower it, or widen CUDA_VISIBLE_DEVICES"
        )
    if processes.accelerate_config is not None:
        _require_launchable(processes.accelerate_config)


def _require_launchable(path: Path) -> None:
    """Raises `ProcessesRefused`, unless the configuration spreads a model over processes of one machine by what is
    installed."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.utils import is_deepspeed_available
    from yaml import YAMLError

    try:
        config = load_config_from_file(str(path))
    except (OSError, ValueError, TypeError, YAMLError) as problem:
        raise ProcessesRefused(f"RLAIF_ACCELERATE_CONFIG: {path} cannot be read ({problem})") from problem
    kind: str = config.distributed_type.value
    if kind not in _SPREADS:
        raise ProcessesRefused(
            f"RLAIF_ACCELERATE_CONFIG: distributed_type is {kind}, but one of {', '.join(sorted(_SPREADS))} is needed; "
            "without a configuration every process holds the whole model"
        )
    if config.num_machines > 1:
        raise ProcessesRefused(
            f"RLAIF_ACCELERATE_CONFIG: num_machines is {config.num_machines}, but a training runs on one machine; set 1"
        )
    if kind == "FSDP" and int(config.fsdp_config.get("fsdp_version", 1)) != 2:
        raise ProcessesRefused("RLAIF_ACCELERATE_CONFIG: FSDP needs fsdp_version: 2")
    if kind == "DEEPSPEED" and not is_deepspeed_available():
        raise ProcessesRefused(
            "RLAIF_ACCELERATE_CONFIG asks for DeepSpeed, which is not installed on this worker: pip install deepspeed"
        )


def _run(task: TaskDirectory, processes: Processes, progress: Progress) -> None:
    """Until the launcher has ended; it is killed, and the ranks with it, where anything is raised here."""
    config = [] if processes.accelerate_config is None else [str(processes.accelerate_config)]
    command = [sys.executable, "-m", "workers.training.agent", str(task.path), str(processes.count), *config]
    agent = subprocess.Popen(command, env=os.environ | {PARENT: str(os.getpid())})  # noqa: S603  our own module
    try:
        while agent.poll() is None:
            task.hand_on(progress)
            if progress.should_stop():
                task.ask_to_stop()
            time.sleep(_POLL_S)
        task.hand_on(progress)
    finally:
        agent.kill()
        agent.wait()


def _outcome(task: TaskDirectory, processes: Processes, result_type: Any) -> Any:
    failures = task.failures()
    if not failures:
        try:
            return task.outcome(result_type)
        except FileNotFoundError:
            raise RanksFailed(processes.count, "the launcher ended before they did; its log says why") from None
    raise RanksFailed(processes.count, _first_cause(failures))


def _first_cause(failures: list[Failure]) -> str:
    """A rank that was killed, since the others only lost their connection to it; or what was raised first."""
    killed = [failure for failure in failures if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM]
    if killed:
        name = signal.Signals(-killed[0].exitcode).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"rank {killed[0].rank} was killed by {name}{hint}"
    first = failures[0]
    return f"rank {first.rank} raised {first.error}" if first.error else f"rank {first.rank} exited {first.exitcode}"
