"""The benchmark on real data where that is at hand; its arithmetic and its ending everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from app.rlaif.agreement import Ratings, krippendorff_alpha
from app.rlaif.comparison import Answer, Order
from benchmarks import judging, trajectories
from benchmarks.figures import Figure, conclude
from benchmarks.human_labels import llmbar, pandalm, replayed

needs_data = pytest.mark.skipif(not (judging.DATA / "llmbar.jsonl").exists(), reason="the public data is not here")


class TestFigure:
    @pytest.mark.parametrize(
        ("value", "relation", "goal", "within", "word"),
        [
            (0.8699, ">=", 0.87, 0.0, "short"),
            (0.87, ">=", 0.87, 0.0, "met"),
            (0.05, "<=", 0.05, 0.0, "met"),
            (0.06, "<=", 0.05, 0.0, "short"),
            (0.8644, "=", 0.864, 0.0005, "met"),
            (0.8650, "=", 0.864, 0.0005, "short"),
        ],
    )
    def test_line_ends_in_its_verdict(
        self, value: float, relation: Literal[">=", "<=", "="], goal: float, within: float, word: str
    ) -> None:
        line = Figure("panel", value, relation, goal, within).line()
        assert line.split()[0] == "panel"
        assert line.split()[-1] == word

    def test_one_short_figure_fails_the_benchmark(self, capsys: pytest.CaptureFixture[str]) -> None:
        met, short = Figure("one", 1, ">=", 0.5), Figure("other", 1, "<=", 0.5)
        assert (conclude([met]), conclude([met, short])) == (0, 1)
        assert capsys.readouterr().out.splitlines()[-1] == "other 1.0000 <=0.5 short"


class TestReplayed:
    def test_stored_answers_come_back_with_what_is_missing(self, tmp_path: Path) -> None:
        row = {"id": "c1", "instruction": "Add 1 and 1.", "output_1": "2", "output_2": "3", "human_label": 1}
        stored = {"strong": {"as_given": 1, "swapped": 2}, "weak": {"as_given": 2, "swapped": None}}
        (tmp_path / "llmbar.jsonl").write_text(json.dumps(row | {"judges": stored}))
        comparisons = llmbar(tmp_path)
        strong, weak = (replayed(comparisons, judge)["c1"] for judge in ("strong", "weak"))
        assert [(each.order, each.answer) for each in strong] == [(Order.AB, Answer.A), (Order.BA, Answer.B)]
        assert [(each.order, each.answer) for each in weak] == [(Order.AB, Answer.B), (Order.BA, Answer.INVALID)]


@needs_data
class TestRealData:
    def test_llmbars_judges_are_as_published(self) -> None:
        comparisons = llmbar(judging.DATA)
        right = {
            judge: sum(
                verdict.answer is each.people[0]
                for each, verdicts in zip(comparisons, replayed(comparisons, judge).values(), strict=True)
                for verdict in verdicts
            )
            for judge in comparisons[0].judges
        }
        assert right == judging.PUBLISHED_RIGHT

    def test_pandalms_annotators_agree_as_published(self) -> None:
        units = [Ratings(each.prompt_id, each.people) for each in pandalm(judging.DATA)]
        measured = krippendorff_alpha(units, rng=np.random.default_rng(0), samples=100)
        assert measured.value == pytest.approx(0.864, abs=5e-4)
        assert measured.n == 999

    def test_every_trajectory_is_read_and_rendered(self) -> None:
        figures = trajectories.measure(judging.DATA)
        assert [figure.name for figure in figures if not figure.is_met] == []


def test_without_data_says_where_to_point_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["judging", "--data", f"{tmp_path}"])
    assert judging.main() == 2
    assert "--data DIR" in capsys.readouterr().out
