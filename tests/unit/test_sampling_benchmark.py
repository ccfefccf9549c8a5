"""The benchmark runs from its command to its figures on a tiny model; what its figures are taken from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import sampling
from benchmarks.measurement import Usage
from benchmarks.samplers import Drawn
from benchmarks.sampling import Result, Setting, figures, task_of
from benchmarks.workload import Sampler

ROOT = Path(__file__).resolve().parents[2]


def drawn(*seconds: float) -> list[Drawn]:
    return [Drawn(completions=16, tokens=120, usage=Usage(each, each, 0)) for each in seconds]


class TestFigures:
    def test_ratios_are_taken_within_a_repetition_and_at_the_same_batch_size(self) -> None:
        """A machine that is three times slower in one repetition is so for both sides of a ratio."""
        result = Result(
            task_of("tiny"),
            {
                Setting(Sampler.OURS, 8): drawn(2.0, 6.0, 2.0),
                Setting(Sampler.OURS, 16): drawn(1.0, 3.0, 1.0),
                Setting(Sampler.GENERATE, 8): drawn(1.0, 3.0, 1.0),
                Setting(Sampler.GENERATE, 16): drawn(3.0, 9.0, 3.0),
                Setting(Sampler.CONTINUOUS, None): drawn(8.0, 24.0, 8.0),
            },
        )
        assert [figure.line() for figure in figures(result, device="cpu")] == [
            "tiny_over_generate_at_8 0.5000 >=1 short",
            "tiny_over_generate_at_16 3.0000 >=1 met",
            "tiny_over_best_generate 1.0000 >=1 met",
            "tiny_over_best_continuous 8.0000 >=1 met",
        ]


def test_a_tiny_run_ends_in_figures() -> None:
    command = [sys.executable, "-m", "benchmarks.sampling", "--shapes", "tiny", "--repetitions", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode in (0, 1), ended.stderr
    lines = [line.split() for line in ended.stdout.split("\n\n")[-1].splitlines()]
    assert [line[0] for line in lines] == [
        "tiny_over_generate_at_8",
        "tiny_over_generate_at_16",
        "tiny_over_best_generate",
        "tiny_over_best_continuous",
    ]
    assert all(float(line[1]) > 0 for line in lines)
    assert ended.returncode == int(any(line[-1] == "short" for line in lines))


def test_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sampling, "cuda_is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["sampling", "--device", "cuda"])
    assert sampling.main() == 2
    assert "no CUDA device" in capsys.readouterr().out
