"""The tables of `benchmarks.judge_throughput`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.figures import show
from benchmarks.judge_bench import IN_FLIGHT, Judged
from benchmarks.judge_endpoint import BIN_S
from benchmarks.judge_latency import Latency
from benchmarks.judge_peer import VERSION, Peer
from benchmarks.judge_processes import Worked

_JUDGED = (
    "verdicts",
    "s",
    "a second",
    "of ideal",
    "of steady",
    "CPU ms",
    "cores",
    "postgres ms",
    "endpoint",
    "most",
    "invalid",
)


def show_judged(title: str, results: Sequence[Judged]) -> None:
    """`endpoint` is how much of its core it was busy, `most` how many calls it saw at once."""
    show(
        title,
        _JUDGED,
        [
            (
                f"{each.stored.verdicts}",
                f"{each.worked.wall_s:.2f}",
                f"{each.per_second:.0f}",
                f"{each.of_ideal:.3f}",
                f"{each.of_steady:.3f}",
                f"{each.cpu_ms:.3f}",
                f"{each.worked.cpu_s / each.worked.wall_s:.2f}",
                f"{1e3 * each.postgres_cpu_s / each.stored.verdicts:.3f}",
                f"{each.endpoint_share:.2f}",
                f"{each.seen.most_in_flight}",
                f"{each.stored.invalid}",
            )
            for each in results
        ],
    )


def show_bare(latency: Latency, calls: int, worked: Worked) -> None:
    """What the machine allows just then."""
    of_ideal = latency.ideal_s(calls, in_flight=IN_FLIGHT) / worked.wall_s
    print(f"a bare aiohttp client: {of_ideal:.3f} of ideal, {1e3 * worked.cpu_s / calls:.3f} CPU ms a call")


def show_memory(result: Judged) -> None:
    """A row a fifth of the verdicts."""
    step = result.stored.verdicts // 5
    rows = [
        min(result.samples, key=lambda sample: abs(sample.answered - mark))
        for mark in range(step, result.stored.verdicts, step)
    ]
    show(
        "memory, what processes share counted once",
        ("verdicts", "MiB"),
        [(f"{each.answered}", f"{each.memory_bytes / 2**20:.1f}") for each in rows],
    )


def show_storm(result: Judged) -> None:
    """A row ten seconds."""
    width = round(10 / BIN_S)
    bins = range(0, int(result.seen.last_answer_s / BIN_S) + 1, width)
    rows = [
        (
            f"{first * BIN_S:.0f}",
            f"{sum(result.seen.answered.get(place, 0) for place in range(first, first + width)) / 10:.0f}",
            f"{sum(result.seen.refused.get(place, 0) for place in range(first, first + width)) / 10:.0f}",
        )
        for first in bins
    ]
    show("calls a second", ("from s", "answered", "refused"), rows)


def show_peers(ours: Judged, peers: Sequence[Peer]) -> None:
    mine = (
        "this stage",
        f"{ours.seen.calls}",
        f"{ours.per_second:.0f}",
        f"{ours.cpu_ms:.3f}",
        f"{ours.seen.most_in_flight}",
        f"{ours.stored.verdicts - ours.stored.invalid}",
    )
    theirs = [
        (
            f"distilabel, batches of {peer.batch}",
            f"{peer.calls}",
            f"{peer.per_second:.0f}",
            f"{peer.cpu_ms:.3f}",
            f"{peer.most_in_flight}",
            f"{peer.parsed}",
        )
        for peer in peers
    ]
    show(
        f"distilabel {VERSION}: PrometheusEval (relative) on OpenAILLM",
        ("judge", "calls", "a second", "CPU ms a call", "most in flight", "read"),
        [mine, *theirs],
    )
