"""The processes of `benchmarks.judge_throughput`: each side on cores of its own, watched from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, cast

import psutil

from benchmarks.judge_endpoint import Seen
from benchmarks.judge_latency import Latency

SAMPLE_S = 0.25


@dataclass(frozen=True, slots=True)
class Sample:
    """At one moment: calls answered, proportional memory and CPU seconds of a process tree."""

    answered: int
    memory_bytes: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Worked:
    """What a piece of work took: of a shard, seconds from its claim to its commit, and CPU of the whole tree."""

    wall_s: float
    cpu_s: float


def pin(pid: int, *, endpoint: bool) -> None:
    """The endpoint gets the last core and everything else the others, where the system allows it and has three."""
    cores = list(range(os.cpu_count() or 1))
    process = psutil.Process(pid)
    if len(cores) >= 3 and hasattr(process, "cpu_affinity"):
        process.cpu_affinity(cores[-1:] if endpoint else cores[:-1])


class EndpointProcess:
    """The scripted endpoint, running. `seen` is what it has seen so far."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.url = cast(IO[str], popen.stdout).readline().strip()

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def seen(self) -> Seen:
        with urllib.request.urlopen(f"{self.url}/stats", timeout=10) as response:  # noqa: S310 - our own endpoint
            stats: dict[str, Any] = json.load(response)
        for name in ("answered", "refused"):
            stats[name] = {int(bin_): count for bin_, count in stats[name].items()}
        return Seen(**{field.name: stats[field.name] for field in fields(Seen)})


@contextmanager
def endpoint(latency: Latency, *, rate: float | None = None, reply: str = "labels") -> Iterator[EndpointProcess]:
    limit = [] if rate is None else ["--rate", f"{rate}"]
    shape = ["--shape", latency.shape.value, "--latency", f"{latency.base_s}", "--seed", f"{latency.seed}"]
    argv = [sys.executable, "-m", "benchmarks.judge_endpoint", *shape, "--reply", reply, *limit]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as popen:
        pin(popen.pid, endpoint=True)
        try:
            yield EndpointProcess(popen)
        finally:
            popen.kill()


def bare_client(watched: EndpointProcess, *, calls: int, in_flight: int) -> Worked:
    """What so many calls take without asking anything, reading anything or storing anything."""
    argv = [sys.executable, "-m", "benchmarks.judge_bare", watched.base_url, f"{calls}", f"{in_flight}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as popen:
        pin(popen.pid, endpoint=False)
        output, _ = popen.communicate()
    return Worked(**json.loads(output))


class WorkerProcess:
    """`benchmarks.judge_worker`, warm."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.pid = popen.pid
        self._input, self._output = cast(IO[str], popen.stdin), cast(IO[str], popen.stdout)
        self._answer()

    def work_off(self, shard_id: str) -> Worked:
        """Raises RuntimeError when the worker has died; its log says why."""
        self._input.write(f"{shard_id}\n")
        self._input.flush()
        return Worked(**json.loads(self._answer()))

    def _answer(self) -> str:
        if not (line := self._output.readline()):
            raise RuntimeError(f"the worker process {self.pid} has ended: its errors are above")
        return line


@contextmanager
def worker(environment: Mapping[str, str]) -> Iterator[WorkerProcess]:
    argv = [sys.executable, "-m", "benchmarks.judge_worker"]
    with subprocess.Popen(
        argv, env=os.environ | environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as popen:
        pin(popen.pid, endpoint=False)
        try:
            yield WorkerProcess(popen)
        finally:
            cast(IO[str], popen.stdin).close()
            popen.wait(timeout=10)


class Watch(threading.Thread):
    """Samples a process tree while the block lasts."""

    def __init__(self, pid: int, watched: EndpointProcess) -> None:
        super().__init__(daemon=True)
        self._tree = psutil.Process(pid)
        self._endpoint = watched
        self._over = threading.Event()
        self.samples: list[Sample] = []

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            with suppress(psutil.NoSuchProcess):
                processes = [self._tree, *self._tree.children(recursive=True)]
                answered = sum(self._endpoint.seen().answered.values())
                memory = sum(_proportional_bytes(process) for process in processes)
                self.samples.append(Sample(answered, memory, sum(map(cpu_s, processes))))


def kill_child(worker_pid: int, watched: EndpointProcess, answered: int) -> None:
    """SIGKILL to the child that judges, a session's leader, as soon as so many calls are answered."""
    while sum(watched.seen().answered.values()) < answered:
        time.sleep(SAMPLE_S)
    for process in psutil.Process(worker_pid).children(recursive=True):
        if os.getsid(process.pid) == process.pid:
            process.kill()


def cpu_s(process: psutil.Process) -> float:
    """User and system seconds of a process and of the children that it has reaped."""
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _proportional_bytes(process: psutil.Process) -> int:
    """Resident memory with what is shared divided by its sharers, where the system tells; else plain resident."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup")
    try:
        lines: Sequence[str] = rollup.read_text().splitlines()
    except OSError:
        return int(process.memory_info().rss)
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
