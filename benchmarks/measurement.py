"""What work costs: each piece is run in a process of its own, forked warm, so that none pays for imports or for others.

Imports no torch: the parent never computes.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing import get_context
from pathlib import Path

import psutil

from benchmarks.workload import WARM_UP, Shape, Workload, preference_pairs

GAP_PAIRS = 16


class Contender(StrEnum):
    OURS = "ours"
    TRL_DEFAULT = "trl_default"
    TRL_FP32 = "trl_fp32"
    TRL_PRECOMPUTED = "trl_precomputed"
    TRL_LIGER = "trl_liger"


@dataclass(frozen=True, slots=True)
class Trained:
    """Mean loss over the steps; the first step's preference loss, which TRL does not report apart."""

    steps: int
    loss: float
    first_preference_loss: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """What one training used: see `Usage`."""

    seconds: float
    peak_bytes: int
    trained: Trained


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds: of all cores and children on the CPU, elapsed on CUDA. Bytes at the peak above those at the start."""

    seconds: float
    wall_seconds: float
    peak_bytes: int


class Meter:
    """Measures from when it is made; `restart` begins the seconds anew and keeps what memory was held at first."""

    def __init__(self) -> None:
        self._held = _held_bytes()
        self.restart()

    def restart(self) -> None:
        self._seconds, self._wall = _seconds(), time.perf_counter()

    def usage(self) -> Usage:
        seconds, wall = _seconds() - self._seconds, time.perf_counter() - self._wall
        return Usage(seconds, wall, _peak_bytes() - self._held)


@contextmanager
def warm_processes(*, threads: int, device: str, imports: Sequence[str]) -> Iterator[ProcessPoolExecutor]:
    """Runs one task at a time, each in a fresh fork of a process that has imported these modules of ours."""
    os.environ |= {
        "OMP_NUM_THREADS": f"{threads}",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONWARNINGS": "ignore",
    }
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    context = get_context("forkserver")
    context.set_forkserver_preload([*imports, "benchmarks.llama"])
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as processes:
        yield processes


def build(shape: Shape, directory: Path, dtype: str = "float32") -> None:
    import torch

    from benchmarks.llama import build_model

    build_model(shape, directory, dtype=getattr(torch, dtype))


def measure(contender: Contender, workload: Workload, models: Path, out_dir: Path) -> Cost:
    """Train once; `models` holds a directory a shape. What is measured is stated in `benchmarks.contenders`."""
    from benchmarks.contenders import train

    def run(work: Workload, name: str) -> Trained:
        pairs = preference_pairs(work)
        return train(contender, models / work.shape.name, pairs, out_dir / name, workload=work)

    run(WARM_UP, "warm-up")
    meter = Meter()
    trained = run(workload, "trained")
    used = meter.usage()
    return Cost(used.seconds, used.peak_bytes, trained)


def gap(workload: Workload, models: Path, out_dir: Path) -> float:
    """max |delta log-prob| in nats on the workload's first pairs, as one batch."""
    from benchmarks.contenders import logprob_gap

    return logprob_gap(models / workload.shape.name, preference_pairs(workload)[:GAP_PAIRS], out_dir)


def cuda_is_available() -> bool:
    import torch

    return torch.cuda.is_available()


def _seconds() -> float:
    if cuda_is_available():
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _held_bytes() -> int:
    if cuda_is_available():
        import torch

        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated())
    return int(psutil.Process().memory_info().rss)


def _peak_bytes() -> int:
    if cuda_is_available():
        import torch

        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
