"""How fast the judge stage is, what it costs, and how it bears a bad endpoint: `make bench-judge-throughput`.

The whole stage as a worker runs it: one shard is claimed, its comparisons are made and read from PostgreSQL, every
question is put to a scripted endpoint over HTTP, its reply parsed, the verdict stored. The ideal is a client that costs
nothing and always has as many calls in flight. Nothing here is a test of time: goals are printed, met or short.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks import judge_peer
from benchmarks.figures import Figure, conclude
from benchmarks.judge_bench import IN_FLIGHT, Bench, bench
from benchmarks.judge_endpoint import BIN_S
from benchmarks.judge_latency import Latency, Shape
from benchmarks.judge_processes import bare_client, endpoint
from benchmarks.judge_tables import show_bare, show_judged, show_memory, show_peers, show_storm

LATENCY_S = 0.2
WARM_UP = 1_200
CPU_GOAL_MS = 0.5
MEMORY_GOAL_BYTES = 256
"""A verdict that is held takes a thousand; an allocator's steps come to a hundred."""

STORM_RATE, STORM_GOAL, STORM_SETTLED_S = 400.0, 0.9, 60.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything: verdicts by scenario, repetitions of the constant one."""

    constant: int = 24_000
    heavy: int = 24_000
    stragglers: int = 30_000
    memory: int = 100_000
    killed: int = 12_000
    storm: int = 36_000
    peer: int = 2_048
    repetitions: int = 3

    @property
    def most(self) -> int:
        return max(self.constant, self.heavy, self.stragglers, self.memory, self.storm)


QUICK = Size(
    constant=3_000, heavy=3_000, stragglers=3_000, memory=6_000, killed=3_000, storm=2_400, peer=512, repetitions=1
)


CONSTANT = Latency(Shape.CONSTANT, LATENCY_S)
HEAVY = Latency(Shape.HEAVY, LATENCY_S)
STRAGGLERS = Latency(Shape.STRAGGLERS, LATENCY_S)


def constant(bench: Bench, size: Size) -> list[Figure]:
    results = []
    for _ in range(size.repetitions):
        with endpoint(CONSTANT) as running:
            show_bare(CONSTANT, size.constant, bare_client(running, calls=size.constant, in_flight=IN_FLIGHT))
        results.append(bench.judge(CONSTANT, size.constant))
    show_judged("200 ms, always", results)
    return [
        Figure("constant_of_ideal", median(each.of_ideal for each in results), ">=", 0.90),
        Figure("constant_cpu_ms_a_verdict", median(each.cpu_ms for each in results), "<=", CPU_GOAL_MS),
    ]


def heavy(bench: Bench, size: Size) -> list[Figure]:
    result = bench.judge(HEAVY, size.heavy)
    show_judged("200 ms on average, lognormal with sigma 1", [result])
    return [
        Figure("heavy_of_ideal", result.of_ideal, ">=", 0.90),
        Figure("heavy_cpu_ms_a_verdict", result.cpu_ms, "<=", CPU_GOAL_MS),
    ]


def stragglers(bench: Bench, size: Size) -> list[Figure]:
    result = bench.judge(STRAGGLERS, size.stragglers)
    show_judged("200 ms, and 6 s for one call in a hundred", [result])
    return [Figure("stragglers_of_ideal", result.of_ideal, ">=", 0.85)]


def memory(bench: Bench, size: Size) -> list[Figure]:
    result = bench.judge(CONSTANT, size.memory)
    show_judged(f"{size.memory} verdicts in one shard", [result])
    show_memory(result)
    return [Figure("memory_bytes_a_verdict", result.bytes_a_verdict(), "<=", MEMORY_GOAL_BYTES)]


def storm(bench: Bench, size: Size) -> list[Figure]:
    result = bench.judge(CONSTANT, size.storm, rate=STORM_RATE)
    show_judged(f"200 ms, and 429 above {STORM_RATE:g} calls a second", [result])
    show_storm(result)
    settled = [rate for place, rate in enumerate(result.rates()) if place * BIN_S >= STORM_SETTLED_S]
    return [
        Figure("storm_settled_s", result.settled_s(STORM_GOAL * STORM_RATE), "<=", STORM_SETTLED_S),
        Figure("storm_of_allowed", median(settled or result.rates()) / STORM_RATE, ">=", STORM_GOAL),
        Figure("storm_invalid", result.stored.invalid, "=", 0),
    ]


def killed(bench: Bench, size: Size) -> list[Figure]:
    """What was paid for and is asked again: at most what was in flight, and as many that waited to be stored."""
    result = bench.judge_killed(CONSTANT, size.killed)
    asked_twice = result.answered - result.verdicts
    print(f"kill -9 of the child: {result.verdicts} verdicts, {asked_twice} answered a second time\n")
    return [Figure("killed_answered_twice", asked_twice, "<=", 2 * IN_FLIGHT)]


def distilabel(bench: Bench, size: Size) -> list[Figure]:
    """The peer with its own batches and with ours, the faster of them counts; and our stage right after it."""
    peers = [
        judge_peer.measure(CONSTANT, calls=size.peer, batch=batch) for batch in (judge_peer.DEFAULT_BATCH, IN_FLIGHT)
    ]
    ours = bench.judge(CONSTANT, size.constant)
    show_peers(ours, peers)
    return [Figure("over_distilabel", ours.per_second / max(peer.per_second for peer in peers), ">=", 8.0)]


SCENARIOS: dict[str, Callable[[Bench, Size], list[Figure]]] = {
    each.__name__: each for each in (constant, heavy, stragglers, killed, distilabel, storm, memory)
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario; may be given again")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: does it run, not how fast")
    asked = parser.parse_args()
    size = QUICK if asked.quick else Size()
    figures: list[Figure] = []
    try:
        with bench(verdicts=size.most) as running:
            running.judge(CONSTANT, WARM_UP)
            for name in asked.only or SCENARIOS:
                figures += SCENARIOS[name](running, size)
    except judge_peer.PeerMissing as error:
        print(f"skipped: {error}; --only leaves it out")
        return 2
    print(f"\nload average {' '.join(f'{load:.1f}' for load in os.getloadavg())} on {os.cpu_count()} cores")
    return conclude(figures)


if __name__ == "__main__":
    raise SystemExit(main())
