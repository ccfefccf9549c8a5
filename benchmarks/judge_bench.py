"""One shard judged by a warm worker, on PostgreSQL of the benchmark's own, and the figures that follow from it."""

from __future__ import annotations

import math
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from app.config import Settings
from benchmarks.judge_endpoint import BIN_S, Seen
from benchmarks.judge_latency import Latency
from benchmarks.judge_processes import Sample, Watch, Worked, WorkerProcess, cpu_s, endpoint, kill_child, pin, worker
from benchmarks.judge_world import VERDICTS_A_PROMPT, Stored, World
from cli.stack.home import Home
from cli.stack.postgres import Postgres
from cli.stack.schema import migrate
from cli.stack.stack import Stack, StackOptions
from cli.stack.sweep import marked

IN_FLIGHT = 256
MEMORY_FROM = 20_000
WINDOW_S = 20.0
"""A refusal holds everybody for its Retry-After, a second here: of ten seconds that would be a tenth."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One shard judged."""

    latency: Latency
    stored: Stored
    worked: Worked
    seen: Seen
    postgres_cpu_s: float
    samples: Sequence[Sample] = field(repr=False)

    @property
    def per_second(self) -> float:
        return self.stored.verdicts / self.worked.wall_s

    @property
    def of_ideal(self) -> float:
        """Against a client that costs nothing and meets the very same latencies."""
        return self.latency.ideal_s(self.stored.verdicts, in_flight=IN_FLIGHT) / self.worked.wall_s

    @property
    def of_steady(self) -> float:
        """Against calls in flight over mean latency, which knows no last call."""
        return self.per_second * self.latency.mean_s(self.stored.verdicts) / IN_FLIGHT

    @property
    def cpu_ms(self) -> float:
        """Of the worker and its child, a verdict."""
        return 1e3 * self.worked.cpu_s / self.stored.verdicts

    @property
    def endpoint_share(self) -> float:
        """How much of a core the endpoint was busy: near 1 it would be what is measured."""
        return self.seen.cpu_s / self.worked.wall_s

    def bytes_a_verdict(self) -> float:
        """The slope of the tree's memory from MEMORY_FROM verdicts (or a fifth) on, by least squares."""
        first = min(MEMORY_FROM, self.stored.verdicts // 5)
        points = [(each.answered, each.memory_bytes) for each in self.samples if each.answered >= first]
        points = [point for point in points if point[0] < self.stored.verdicts]
        x_mean, y_mean = (math.fsum(column) / len(points) for column in zip(*points, strict=True))
        spread = math.fsum((x - x_mean) ** 2 for x, _ in points)
        return math.fsum((x - x_mean) * (y - y_mean) for x, y in points) / spread

    def rates(self) -> list[float]:
        """Answers a second over WINDOW_S that ends at each bin, up to the last call's."""
        bins = int(self.seen.last_call_s / BIN_S)
        window = int(WINDOW_S / BIN_S)
        counts = [self.seen.answered.get(place, 0) for place in range(bins)]
        return [sum(counts[end - window : end]) / WINDOW_S for end in range(window, bins + 1)]

    def settled_s(self, rate: float) -> float:
        """From when on every window held `rate`; infinite if the last one did not."""
        settled = math.inf
        for place, each in reversed(list(enumerate(self.rates()))):
            if each < rate:
                break
            settled = place * BIN_S + WINDOW_S
        return settled


@dataclass(frozen=True, slots=True)
class Killed:
    """A shard whose child was killed: what is stored, and what the endpoint has answered."""

    verdicts: int
    answered: int


class Bench:
    """Postgres, a world in it, and a warm worker."""

    def __init__(self, stack: Stack, world: World, running: WorkerProcess) -> None:
        self._stack = stack
        self._world = world
        self._worker = running

    def judge(self, latency: Latency, verdicts: int, *, rate: float | None = None) -> Judged:
        with endpoint(latency, rate=rate) as running:
            run_id, shard_id = self._world.judge_shard(
                verdicts=verdicts, base_url=running.base_url, in_flight=IN_FLIGHT
            )
            before = self._postgres_cpu_s()
            with Watch(self._worker.pid, running) as watch:
                worked = self._worker.work_off(shard_id)
            postgres = self._postgres_cpu_s() - before
            return Judged(
                latency, self._world.stored(run_id, shard_id), worked, running.seen(), postgres, watch.samples
            )

    def judge_killed(self, latency: Latency, verdicts: int) -> Killed:
        """`kill -9` of the child once a third of the questions are answered; its worker takes the shard up again."""
        with endpoint(latency) as running:
            run_id, shard_id = self._world.judge_shard(
                verdicts=verdicts, base_url=running.base_url, in_flight=IN_FLIGHT
            )
            killer = threading.Thread(target=kill_child, args=(self._worker.pid, running, verdicts // 3))
            killer.start()
            self._worker.work_off(shard_id)
            killer.join()
            self._worker.work_off(shard_id)
            return Killed(self._world.stored(run_id, shard_id).verdicts, sum(running.seen().answered.values()))

    def _postgres_cpu_s(self) -> float:
        """Of the server and its backends; one that ends in between is counted by the server."""
        return sum(map(cpu_s, marked(self._stack.home, "postgres")))


@contextmanager
def bench(*, verdicts: int) -> Iterator[Bench]:
    """PostgreSQL of the benchmark's own, on a disk that is waited for, with prompts for so many verdicts."""
    with tempfile.TemporaryDirectory() as root, Stack(Home.at(Path(root)), StackOptions()) as stack:
        pin(os.getpid(), endpoint=False)
        stack.start("postgres")
        cast(Postgres, stack.postgres).ensure_database()
        migrate(stack.database_url)
        world = World(Settings(database_url=stack.database_url), prompts=-(-verdicts // VERDICTS_A_PROMPT))
        try:
            with worker(stack.settings() | {"RLAIF_PRIVATE_NETWORKS": "127.0.0.0/8"}) as running:
                yield Bench(stack, world, running)
        finally:
            world.close()
