"""The benchmark runs from its command to its figures, on two steps; what its figures are taken from."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import training
from benchmarks.measurement import Contender, Cost, Trained
from benchmarks.training import EQUAL, LONG_PROMPT, Result, figures
from benchmarks.workload import EXAMPLES, PROMPT_FRAME, Workload, preference_pairs

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"(?P<name>\w+) (?P<value>\d+\.\d{4}) <=(?P<goal>[\d.e-]+) (?P<verdict>met|short)")


def cost(seconds: float, first_loss: float | None = None) -> Cost:
    return Cost(seconds, 0, Trained(steps=1, loss=1.0, first_preference_loss=first_loss))


class TestFigures:
    def test_ratios_are_taken_within_a_repetition(self) -> None:
        """A machine that is three times slower in one repetition is so for both sides of a ratio."""
        costs = {
            Contender.OURS: [cost(1.0, 0.693147), cost(3.0, 0.693147), cost(1.0, 0.693157)],
            Contender.TRL_FP32: [cost(2.0), cost(6.0), cost(4.0)],
        }
        result = Result(Workload(EXAMPLES, EQUAL, pairs=1, batch_size=1), costs, gap=2e-3)
        speed, gap, first = figures([result], [Contender.TRL_FP32])
        assert speed.line() == "equal_examples_over_trl_fp32 0.5000 <=0.6 met"
        assert gap.line() == "logprob_gap_micronats 2000.0000 <=1000 short"
        assert first.value == pytest.approx(9.8, abs=0.1)

    def test_a_long_prompt_has_its_own_goal(self) -> None:
        costs = {Contender.OURS: [cost(1.0, 0.693147)], Contender.TRL_DEFAULT: [cost(2.0)]}
        result = Result(Workload(EXAMPLES, LONG_PROMPT, pairs=1, batch_size=1), costs, gap=0)
        assert figures([result], [Contender.TRL_DEFAULT])[0].line().endswith("0.5000 <=0.45 short")


def test_pairs_have_the_lengths_asked_for() -> None:
    pairs = preference_pairs(Workload(EXAMPLES, LONG_PROMPT, pairs=400, batch_size=1))
    prompts = [len(pair.prompt[0]["content"].split()) + PROMPT_FRAME for pair in pairs]
    completions = [len(text.split()) + 1 for pair in pairs for text in (pair.first, pair.second)]
    assert sum(prompts) / len(prompts) == pytest.approx(256, rel=0.05)
    assert sum(completions) / len(completions) == pytest.approx(64, rel=0.05)
    assert min(prompts) >= 128
    assert max(prompts) <= 384


def test_a_tiny_run_ends_in_figures() -> None:
    """Whole models and LoRA, ours and TRL in its three ways: every path but those that need a GPU."""
    command = [sys.executable, "-m", "benchmarks.training", "--shapes", "tiny", "--repetitions", "1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode in (0, 1), ended.stderr
    lines = [LINE.fullmatch(line) for line in ended.stdout.split("\n\n")[-1].splitlines()]
    read = {line["name"]: line for line in lines if line}
    assert len(read) == len(lines) == 8, ended.stdout
    names = [f"equal_{shape}_over_{rival}" for shape in ("tiny", "tiny_lora") for rival in training.CPU_RIVALS]
    assert all(float(read[name]["value"]) > 0 for name in names)
    assert read["logprob_gap_micronats"]["verdict"] == "met"
    assert read["first_loss_from_ln2_micronats"]["verdict"] == "met"
    assert ended.returncode == int(any(line["verdict"] == "short" for line in read.values()))


def test_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(training, "cuda_is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["training", "--device", "cuda"])
    assert training.main() == 2
    assert "no CUDA device" in capsys.readouterr().out
