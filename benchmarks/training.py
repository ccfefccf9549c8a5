"""Our DPO measured against TRL's on the same model, pairs, loss, batch size and steps: `make bench-training`.

Costs are CPU seconds a pair, user and system, of a whole training in a process that has imported everything: load the
model, tokenize, reference pass, one epoch, save. Only ratios are held to goals, each taken within one repetition, whose
trainings follow one another in alternating order; what else the machine does touches both sides.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, conclude, show
from benchmarks.measurement import Contender, Cost, build, cuda_is_available, gap, measure, warm_processes
from benchmarks.workload import (
    EXAMPLES,
    HALF_BILLION,
    SEVEN_BILLION,
    TEN_MILLION,
    TINY,
    WARM_UP,
    Lengths,
    Workload,
)

EQUAL = Lengths("equal", 64, 64)
LONG_PROMPT = Lengths("long_prompt", 256, 64)
ON_GPU = tuple(replace(each, prompt=each.prompt * 2, completion=each.completion * 2) for each in (EQUAL, LONG_PROMPT))
GOALS = {EQUAL.name: 0.60, LONG_PROMPT.name: 0.45}

WORKLOADS = {
    "tiny": [Workload(TINY, Lengths(EQUAL.name, 16, 16), pairs=8, batch_size=4, lora=lora) for lora in (False, True)],
    "examples": [Workload(EXAMPLES, lengths, pairs=96, batch_size=8) for lengths in (EQUAL, LONG_PROMPT)],
    "10m": [Workload(TEN_MILLION, lengths, pairs=32, batch_size=8) for lengths in (EQUAL, LONG_PROMPT)],
    "0.5b": [Workload(HALF_BILLION, lengths, pairs=256, batch_size=8) for lengths in ON_GPU],
    "7b": [Workload(SEVEN_BILLION, lengths, pairs=32, batch_size=4, lora=True) for lengths in ON_GPU],
}
SHAPES = {"cpu": ("examples", "10m"), "cuda": ("0.5b", "7b")}
CPU_RIVALS = (Contender.TRL_DEFAULT, Contender.TRL_FP32, Contender.TRL_PRECOMPUTED)


@dataclass(frozen=True, slots=True)
class Result:
    """One workload: what every training cost, by contender and repetition, and max |delta log-prob| in nats."""

    workload: Workload
    costs: Mapping[Contender, Sequence[Cost]]
    gap: float

    def ratios(self, rival: Contender) -> list[float]:
        """Our seconds over the rival's, one a repetition."""
        pairs = zip(self.costs[Contender.OURS], self.costs[rival], strict=True)
        return [ours.seconds / theirs.seconds for ours, theirs in pairs]

    @property
    def first_loss_error(self) -> float:
        """How far the first step's preference loss is from ln 2, where policy and reference are one."""
        losses = [cost.trained.first_preference_loss for cost in self.costs[Contender.OURS]]
        return max(abs(loss - math.log(2)) for loss in losses if loss is not None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shapes", nargs="+", choices=sorted(WORKLOADS), help="tiny: does it run, not how fast")
    asked = parser.parse_args()
    if asked.device == "cuda" and not cuda_is_available():
        print("skipped: torch finds no CUDA device here; run without --device cuda, or where nvidia-smi lists one")
        return 2
    workloads = [each for shape in asked.shapes or SHAPES[asked.device] for each in WORKLOADS[shape]]
    rivals = rivals_on(asked.device)
    results = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        warm_processes(threads=asked.threads, device=asked.device, imports=["benchmarks.contenders"]) as processes,
    ):
        for shape in {WARM_UP.shape, *(each.shape for each in workloads)}:
            processes.submit(build, shape, Path(scratch) / shape.name).result()
        for workload in workloads:
            result = compare(processes, workload, rivals, repetitions=asked.repetitions, models=Path(scratch))
            show_result(result, device=asked.device)
            results.append(result)
    return conclude(figures(results, rivals))


def rivals_on(device: str) -> tuple[Contender, ...]:
    if device == "cpu":
        return CPU_RIVALS
    if find_spec("liger_kernel") is None:
        print(f"skipped {Contender.TRL_LIGER}: liger-kernel is not installed")
        return CPU_RIVALS
    return (*CPU_RIVALS, Contender.TRL_LIGER)


def compare(
    processes: Executor, workload: Workload, rivals: Sequence[Contender], *, repetitions: int, models: Path
) -> Result:
    """Every contender once a repetition, one after the other, forwards and backwards in turn."""
    order = [Contender.OURS, *rivals]
    costs: dict[Contender, list[Cost]] = {contender: [] for contender in order}
    for repetition in range(repetitions):
        for contender in order if repetition % 2 == 0 else reversed(order):
            with tempfile.TemporaryDirectory() as out_dir:
                costs[contender].append(processes.submit(measure, contender, workload, models, Path(out_dir)).result())
    with tempfile.TemporaryDirectory() as out_dir:
        return Result(workload, costs, processes.submit(gap, workload, models, Path(out_dir)).result())


def figures(results: Sequence[Result], rivals: Sequence[Contender]) -> list[Figure]:
    speed = [
        Figure(
            f"{result.workload.name}_over_{rival}",
            median(result.ratios(rival)),
            "<=",
            1.0 if rival is Contender.TRL_PRECOMPUTED else GOALS[result.workload.lengths.name],
        )
        for result in results
        for rival in rivals
    ]
    return [
        *speed,
        Figure("logprob_gap_micronats", 1e6 * max(result.gap for result in results), "<=", 1e3),
        Figure("first_loss_from_ln2_micronats", 1e6 * max(result.first_loss_error for result in results), "<=", 10),
    ]


def show_result(result: Result, *, device: str) -> None:
    work = result.workload
    show(
        f"{work.shape.name}{', LoRA' if work.lora else ''}: "
        f"prompt {work.lengths.prompt}, completion {work.lengths.completion} tokens; "
        f"{work.pairs} pairs, batches of {work.batch_size}",
        ("training", "CPU s a pair" if device == "cpu" else "s a pair", "ours over it", "peak MiB", "mean loss"),
        [_row(result, contender) for contender in result.costs],
    )
    print(f"max |delta log-prob| {result.gap:.1e}, first loss from ln 2 {result.first_loss_error:.1e} nats")


def _row(result: Result, contender: Contender) -> tuple[str, ...]:
    costs, ratios = result.costs[contender], result.ratios(contender)
    seconds = median(cost.seconds for cost in costs) / result.workload.pairs
    peak = median(cost.peak_bytes for cost in costs) / 2**20
    ratio = "" if contender is Contender.OURS else f"{median(ratios):.3f} ({min(ratios):.3f}..{max(ratios):.3f})"
    return contender, f"{seconds:.4f}", ratio, f"{peak:.0f}", f"{costs[0].trained.loss:.4f}"


if __name__ == "__main__":
    raise SystemExit(main())
