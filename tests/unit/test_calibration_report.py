"""Calibration reports: the figures by hand, alike from both sides, and out of fold where something is fitted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.rlaif.annotation import GivenAnswer
from app.rlaif.calibration_evidence import CalibrationReport
from app.rlaif.calibration_report import Subject, TooFewLabels
from app.rlaif.calibration_text import as_markdown, as_text
from app.rlaif.comparison import Answer
from app.rlaif.measured import Measured
from app.rlaif.people import Divided
from tests.unit.labelled import JUDGES, PANEL, SOLE, answering, asked, drawn, labelled, report_of

slow = settings(max_examples=20, deadline=None)


def value(figure: Measured | None) -> float:
    assert figure is not None
    return figure.value


class TestFigures:
    def test_accuracy_is_of_what_people_decided(self) -> None:
        report = report_of(answering(20, right=12, ties=4))
        assert value(report.instrument.accuracy) == pytest.approx(12 / 16)
        assert report.labels.ties == 4
        assert value(report.judges[0].stated.brier) == pytest.approx((12 * 0.01 + 4 * 0.81 + 4 * 0.16) / 20)

    def test_preferring_the_longer_is_beside_it_on_the_same_comparisons(self) -> None:
        rows = [labelled(n, 1.0, asked("ada", 0.9, 0.9), length=12 if n < 15 else 8) for n in range(20)]
        report = report_of(rows)
        assert value(report.prefer_longer) == pytest.approx(0.75)
        assert value(report.gain_over_longer) == pytest.approx(0.25)
        assert value(report.judges[0].length_bias) == 0.0  # on each pair people prefer the same

    def test_length_bias_is_the_judge_s_less_people_s(self) -> None:
        rows = [
            labelled(n, float(n >= 5), asked("ada", 0.9, 0.9), length=12)  # the judge always, people 15 of 20
            for n in range(20)
        ]
        assert value(report_of(rows).judges[0].length_bias) == pytest.approx(0.25)

    def test_self_preference_is_the_two_errors_apart(self) -> None:
        """Ada wrote every first: 6 of 20 times she picks hers against people, 2 times theirs against hers."""
        rows = []
        for n in range(20):
            p, outcome = (0.9, 0.0) if n < 6 else (0.1, 1.0) if n < 8 else (0.9, 1.0)
            rows.append(labelled(n, outcome, asked("ada", p, p)))
        assert value(report_of(rows).judges[0].self_preference) == pytest.approx(0.2)

    def test_position(self) -> None:
        """Ada takes what is shown first 4 times, what is shown second once, and keeps to her side 5 times."""
        answers = [(0.9, 0.1)] * 4 + [(0.1, 0.9)] + [(0.9, 0.9)] * 5
        rows = [labelled(n, float(n % 2), asked("ada", *both)) for n, both in enumerate(answers)]
        figures = report_of(rows).judges[0]
        assert value(figures.position_consistency) == pytest.approx(0.5)
        assert value(figures.first_position_preference) == pytest.approx(0.3)

    def test_what_is_missing_is_counted_by_reason_and_cohort(self) -> None:
        rows = [
            labelled(n, float(n % 3 == 0), asked("ada", None if n in (0, 2) else 0.9, None if n == 0 else 0.9))
            for n in range(10)
        ]
        figures = report_of(rows).judges[0]
        assert {reason.value: rate.value for reason, rate in figures.invalid.items()} == {"refusal": 3 / 20}
        assert {name: rate.value for name, rate in figures.invalid_by_cohort.items()} == {"even": 0.3, "odd": 0.0}
        assert value(figures.stated.coverage) == pytest.approx(0.8)

    def test_accuracy_at_coverage_begins_with_the_surest(self) -> None:
        rows = [labelled(n, 1.0, asked("ada", 0.95, 0.95)) for n in range(10)]
        rows += [labelled(10 + n, float(n % 2), asked("ada", 0.6, 0.6)) for n in range(10)]
        curve = report_of(rows).at_coverage
        assert [each.coverage for each in curve] == sorted(each.coverage for each in curve)
        assert curve[0].accuracy > curve[-1].accuracy
        assert (curve[-1].coverage, curve[-1].accuracy) == (1.0, 0.75)


class TestPeople:
    def test_those_who_are_divided_count_in_their_agreement_alone(self) -> None:
        agreed = (GivenAnswer("x", Answer.A), GivenAnswer("y", Answer.A))
        rows = [labelled(n, 1.0, asked("ada", 0.9, 0.9), people=agreed) for n in range(8)]
        rows += [
            labelled(8 + n, 0.0, asked("ada", 0.1, 0.1), people=tuple(GivenAnswer(p, Answer.B) for p in "xy"))
            for n in range(8)
        ]
        divided = tuple(
            Divided(f"split-{n}", (GivenAnswer("x", Answer.A), GivenAnswer("y", Answer.B))) for n in range(4)
        )
        labels = report_of(rows, divided=divided).labels
        assert (labels.comparisons, labels.unsettled, labels.several) == (16, 4, 20)
        assert value(labels.one_against_others) == pytest.approx(0.8)
        assert 0.5 < value(labels.kappa) < 0.7
        assert value(report_of(rows).labels.alpha) == 1.0


class TestFitting:
    def test_an_overconfident_judge_is_brought_down_out_of_fold(self) -> None:
        rows = [labelled(n, float(n % 10 < 7), asked("ada", 1.0, 1.0)) for n in range(200)]
        figures = report_of(rows).judges[0]
        assert value(figures.stated.ece) == pytest.approx(0.3)
        assert value(figures.calibrated.ece) < 0.15

    def test_a_panel_is_better_than_its_members_who_err_apart(self) -> None:
        rng = np.random.default_rng(5)
        rows = []
        for n in range(300):
            outcome = float(rng.uniform() < 0.5)
            sides = [abs(outcome - float(rng.uniform() < 0.25)) for _ in JUDGES]
            rows.append(labelled(n, outcome, *(asked(j, s, s) for j, s in zip(JUDGES, sides, strict=True))))
        report = report_of(rows, PANEL)
        assert report.panel is not None
        assert report.panel.gain_over_best is not None
        assert report.panel.gain_over_best.low > 0
        assert report.panel.effective_votes > 2.4

    def test_pure_noise_looks_like_chance(self) -> None:
        rng = np.random.default_rng(7)
        rows = [
            labelled(n, float(rng.uniform() < 0.5), *(asked(j, *rng.uniform(size=2).round(2)) for j in JUDGES))
            for n in range(200)
        ]
        report = report_of(rows, PANEL)
        assert report.instrument.accuracy is not None
        assert report.instrument.accuracy.low < 0.5 < report.instrument.accuracy.high
        assert "judge_is_chance" in {caveat.code for caveat in report.caveats}


class TestProperties:
    @slow
    @given(st.integers(0, 2**32), st.integers(8, 24), st.sampled_from([SOLE, PANEL]))
    def test_neither_order_nor_side_changes_a_report(self, seed: int, size: int, subject: Subject) -> None:
        rng, rows = np.random.default_rng(seed), drawn(seed, size)
        try:
            report = report_of(rows, subject)
        except TooFewLabels:
            return
        swapped = [row.swap() if rng.uniform() < 0.5 else row for row in rows]
        again = report_of([swapped[place] for place in rng.permutation(len(rows))], subject)
        for name in ("accuracy", "three_way_accuracy", "brier", "ece", "coverage"):  # kappa sees which side is A
            one, two = getattr(report.instrument, name), getattr(again.instrument, name)
            assert (one is None) == (two is None), name
            if one is not None:
                assert two.value == pytest.approx(one.value, abs=1e-9), name

    @slow
    @given(st.integers(0, 2**32), st.integers(8, 24), st.sampled_from([SOLE, PANEL]))
    def test_every_report_can_be_stored_and_read(self, seed: int, size: int, subject: Subject) -> None:
        try:
            report = report_of(drawn(seed, size), subject)
        except TooFewLabels:
            return
        assert CalibrationReport.model_validate(report.model_dump(mode="json")) == report
        assert as_markdown(report).startswith("# Calibration: ")
        assert as_text(report).endswith("\n")

    def test_a_judge_without_an_answer_is_named(self) -> None:
        rows = [labelled(n, 1.0, asked("ada", None, None)) for n in range(10)]
        with pytest.raises(TooFewLabels, match="Ada"):
            report_of(rows)
