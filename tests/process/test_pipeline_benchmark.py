"""The benchmark of the whole pipeline, from its command to its figures, on a few prompts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.pipeline import Course, figures

ROOT = Path(__file__).resolve().parents[2]


def course(elapsed: float, *, win_rate: float) -> Course:
    return Course({"sample": elapsed}, elapsed, start=elapsed / 2, cpu=elapsed, pairs=1, win_rate=win_rate)


def test_ratios_are_taken_within_a_repetition() -> None:
    slow = (course(6.0, win_rate=0.7), course(12.0, win_rate=0.8))
    fast = (course(1.0, win_rate=0.7), course(2.0, win_rate=0.8))
    assert [figure.line() for figure in figures([fast, slow, fast])] == [
        "pipeline_over_trl_scripts 0.5000 <=0.8 met",
        "pipeline_with_start_over_trl_scripts 0.7500 <=1 met",
        "win_rate_less_trl_scripts -0.1000 >=-0.05 short",
    ]


@pytest.mark.timeout(600)
def test_a_few_prompts_go_through_both_ways() -> None:
    command = [sys.executable, "-m", "benchmarks.pipeline", "--prompts", "12", "--repetitions", "1", "--threads", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=580, check=False)
    assert ended.returncode in (0, 1), ended.stderr
    lines = [line.split() for line in ended.stdout.split("\n\n")[-1].splitlines()]
    assert [line[0] for line in lines] == [
        "pipeline_over_trl_scripts",
        "pipeline_with_start_over_trl_scripts",
        "win_rate_less_trl_scripts",
    ], ended.stderr
    ratio, with_start, _ = (float(line[1]) for line in lines)
    assert 0 < ratio < with_start
    assert ended.returncode == int(any(line[-1] == "short" for line in lines))
