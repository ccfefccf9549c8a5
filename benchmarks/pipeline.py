"""The demo's run on a stack, beside the same stages written by hand on TRL: `make bench-pipeline`.

Same base model, prompts, numbers of completions, comparisons, epochs, batch sizes and lengths, same checks as judges,
same threads. By hand a stage is a script and pays for its imports, as scripts do. The goal is held against the time
from the first request to a stack that is up until the report is there; the stack's start stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.figures import Figure, conclude, show
from cli.address import free_port
from cli.client.connection import Connection
from cli.demo import submit
from cli.stack.home import Home
from cli.stack.stack import Stack, StackOptions

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
WAIT_S = 30
GOAL = 0.8
WIN_RATE_SLACK = 0.05


@dataclass(frozen=True, slots=True)
class Course:
    """One way through the pipeline. Seconds: of stages by name, elapsed in all, of starting the stack, of all cores."""

    stages: dict[str, float]
    elapsed: float
    start: float
    cpu: float
    pairs: int
    win_rate: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, help="Of each torch process; all cores where none are given")
    parser.add_argument("--prompts", type=int, help="So many of each split, to see that it works")
    asked = parser.parse_args()
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    if asked.threads:
        os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    courses: list[tuple[Course, Course]] = []
    with tempfile.TemporaryDirectory(prefix="rlaif-pipeline-", ignore_cleanup_errors=True) as scratch:
        examples = examples_for(Path(scratch) / "examples", prompts=asked.prompts)
        for repetition in range(asked.repetitions):
            directory = Path(scratch) / str(repetition)
            directory.mkdir()
            order = (on_a_stack, by_hand) if repetition % 2 == 0 else (by_hand, on_a_stack)
            done = {way: way(examples, directory) for way in order}
            courses.append((done[on_a_stack], done[by_hand]))
            show_courses(*courses[-1])
    return conclude(figures(courses))


def examples_for(directory: Path, *, prompts: int | None) -> Path:
    """A copy of the examples with the first so many prompts of each split, or with all of them."""
    shutil.copytree(EXAMPLES, directory, ignore=shutil.ignore_patterns("__pycache__"))
    lines = (EXAMPLES / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    splits = {split: [line for line in lines if json.loads(line)["split"] == split] for split in ("train", "held_out")}
    kept = [line for of_split in splits.values() for line in of_split[:: max(1, len(of_split) // (prompts or 10**9))]]
    (directory / "prompts.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    return directory


def on_a_stack(examples: Path, directory: Path) -> Course:
    """Raises RuntimeError when the run does not succeed."""
    began = time.monotonic()
    options = StackOptions(port=free_port("127.0.0.1"), models_dir=examples, durable=False)
    with Stack(Home.at(directory / "stack"), options) as stack:
        stack.start_all()
        connection = Connection(stack.address, stack.api_key())
        up, used = time.monotonic(), cpu_seconds()
        run = ended(connection, submit(connection, examples)["id"])
        report = connection.get(f"/v1/runs/{run['id']}/report")
        done, used = time.monotonic(), cpu_seconds() - used
    return Course(
        stages={stage["kind"]: _elapsed(stage) for stage in run["stages"]},
        elapsed=done - up,
        start=up - began,
        cpu=used,
        pairs=report["reward_model"]["train_pairs"],
        win_rate=report["headline"]["win_rate"]["value"],
    )


def ended(connection: Connection, run_id: str) -> dict[str, Any]:
    """The run at its end, by long polls."""
    run: dict[str, Any] = {}
    while run.get("status") not in ("succeeded", "failed", "cancelled", "paused"):
        run = connection.get(f"/v1/runs/{run_id}", wait=WAIT_S)
    if run["status"] != "succeeded":
        raise RuntimeError(f"{run_id}: {run['status']}: {run['error'] or run['pause_reason']}")
    return run


def _elapsed(stage: dict[str, Any]) -> float:
    start, end = (datetime.fromisoformat(stage[name]) for name in ("started_at", "finished_at"))
    return (end - start).total_seconds()


def by_hand(examples: Path, directory: Path) -> Course:
    """Raises RuntimeError when a script fails."""
    base, prompts, stages = examples / "base_model", examples / "prompts.jsonl", dict[str, float]()
    train, before, after, pairs = (directory / f"{name}.jsonl" for name in ("train", "base", "policy", "pairs"))
    rewarding, policy = directory / "reward_model", directory / "policy"
    recipe = json.loads((examples / "recipe.json").read_text(encoding="utf-8"))["sample"]
    held_out = str(recipe["held_out_completions"])
    plan: list[tuple[str, str, Sequence[Path | str]]] = [
        ("sample", "sample", (base, prompts, "train", str(recipe["completions"]), train)),
        ("sample", "sample", (base, prompts, "held_out", held_out, before)),
        ("judge", "judge", (prompts, train, examples / "rubric.json", pairs)),
        ("reward_model", "reward_model", (base, pairs, rewarding)),
        ("policy", "dpo", (base, pairs, policy)),
        ("evaluate", "sample", (policy, prompts, "held_out", held_out, after)),
        ("evaluate", "win_rate", (prompts, before, after, examples / "evaluation_judge.json")),
    ]
    output, used = "", cpu_seconds()
    for stage, script, arguments in plan:
        began = time.monotonic()
        output = run_script(script, *arguments)
        stages[stage] = stages.get(stage, 0.0) + time.monotonic() - began
    trained_on = len(pairs.read_text(encoding="utf-8").splitlines())
    win_rate = json.loads(output)["win_rate"]
    return Course(stages, sum(stages.values()), 0.0, cpu_seconds() - used, trained_on, win_rate)


def run_script(name: str, *arguments: Path | str) -> str:
    """What it printed. Raises RuntimeError with the end of its log when it fails."""
    command = [sys.executable, "-m", f"benchmarks.trl_scripts.{name}", *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{name} ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return ended.stdout


def cpu_seconds() -> float:
    """User and system seconds of all that descends from this process: what runs, and what its parents have reaped."""
    this = psutil.Process()
    times = [this.cpu_times()._replace(user=0.0, system=0.0)]
    for process in this.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended just now: its parent has reaped it
            times.append(process.cpu_times())
    return float(sum(each.user + each.system + each.children_user + each.children_system for each in times))


def figures(courses: Sequence[tuple[Course, Course]]) -> list[Figure]:
    """Ratios are taken within a repetition; a win rate may be lower than by hand by a twentieth at most."""
    up = [ours.elapsed / theirs.elapsed for ours, theirs in courses]
    started = [(ours.start + ours.elapsed) / theirs.elapsed for ours, theirs in courses]
    return [
        Figure("pipeline_over_trl_scripts", median(up), "<=", GOAL),
        Figure("pipeline_with_start_over_trl_scripts", median(started), "<=", 1.0),
        Figure(
            "win_rate_less_trl_scripts",
            median(ours.win_rate - theirs.win_rate for ours, theirs in courses),
            ">=",
            -WIN_RATE_SLACK,
        ),
    ]


def show_courses(ours: Course, theirs: Course) -> None:
    stages = [
        (stage, f"{seconds:.1f}", f"{theirs.stages[stage]:.1f}" if stage in theirs.stages else "")
        for stage, seconds in ours.stages.items()
    ]
    show(
        "The demo's pipeline, elapsed seconds",
        ("stage", "on a stack", "TRL scripts"),
        [
            *stages,
            ("all, the stack being up", f"{ours.elapsed:.1f}", f"{theirs.elapsed:.1f}"),
            ("start of the stack", f"{ours.start:.1f}", ""),
            ("CPU seconds, without the start", f"{ours.cpu:.0f}", f"{theirs.cpu:.0f}"),
            ("pairs trained on", str(ours.pairs), str(theirs.pairs)),
            ("held-out win rate", f"{ours.win_rate:.3f}", f"{theirs.win_rate:.3f}"),
        ],
    )


if __name__ == "__main__":
    raise SystemExit(main())
