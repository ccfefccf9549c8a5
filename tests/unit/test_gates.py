"""Gates: what fails names itself, its value, its limit and a remedy; what is not set asks nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.calibration_evidence import CalibrationReport
from app.rlaif.evidence import JudgeMetrics
from app.rlaif.gates import explain, failed_by_calibration, failed_by_judging
from app.rlaif.measured import Measured
from app.rlaif.recipe import GatesConfig
from tests.unit.labelled import answering, report_of

METRICS = JudgeMetrics(
    verdicts=100,
    coverage=0.8,
    invalid={},
    position_consistency=0.6,
    first_position_preference=0.0,
    prefer_longer_share=None,
)


@pytest.fixture(scope="module")
def report() -> CalibrationReport:
    return report_of(answering(100, right=80))


def failed(
    report: CalibrationReport, *, age_days: float = 1.0, drifted: tuple[str, ...] = (), **gates: Any
) -> list[str]:
    found = failed_by_calibration(GatesConfig(**gates), report, age_days=age_days, drifted=drifted)
    assert all(failure.gate in explain(found) and failure.remedy in explain(found) for failure in found)
    return [failure.gate for failure in found]


class TestByCalibration:
    def test_the_lower_end_of_the_interval_counts(self, report: CalibrationReport) -> None:
        accuracy = report.instrument.accuracy
        assert accuracy is not None
        assert accuracy.low < accuracy.value
        assert failed(report, minimum_agreement=accuracy.value) == ["minimum_agreement"]
        assert failed(report, minimum_agreement=accuracy.low) == []

    def test_a_calibration_alone_asks_that_length_is_beaten(self, report: CalibrationReport) -> None:
        unsure = report.model_copy(update={"gain_over_longer": Measured(value=0.02, low=-0.01, high=0.05, n=100)})
        assert failed(unsure) == ["must_beat_longer"]
        assert failed(unsure, must_beat_longer=False) == []
        assert failed(report.model_copy(update={"gain_over_longer": None})) == ["must_beat_longer"]

    def test_each_that_fails_is_named(self, report: CalibrationReport) -> None:
        gates = {
            "minimum_agreement": 0.99,
            "minimum_consistency": 1.0,
            "maximum_ece": 0.0,
            "minimum_effective_votes": 2.0,
            "maximum_calibration_age_days": 7.0,
            "refuse_on_drift": True,
        }
        wanted = {*gates} - {"minimum_consistency"}
        assert set(failed(report, age_days=8.0, drifted=("answers changed",), **gates)) == wanted

    def test_what_was_not_measured_does_not_pass(self, report: CalibrationReport) -> None:
        nothing = report.model_copy(
            update={"instrument": report.instrument.model_copy(update={"accuracy": None, "ece": None})}
        )
        assert failed(nothing, minimum_agreement=0.0, maximum_ece=1.0) == ["minimum_agreement", "maximum_ece"]

    @given(st.floats(0, 1))
    def test_a_harder_gate_lets_no_more_through(self, limit: float) -> None:
        report = report_of(answering(40, right=30))
        easier, harder = (failed(report, minimum_agreement=each) for each in (limit * 0.9, limit))
        assert set(easier) <= set(harder)


class TestByJudging:
    def test_coverage_and_consistency(self) -> None:
        gates = GatesConfig(minimum_coverage=0.9, minimum_consistency=0.7)
        assert [failure.gate for failure in failed_by_judging(gates, METRICS)] == [
            "minimum_coverage",
            "minimum_consistency",
        ]
        assert failed_by_judging(GatesConfig(minimum_coverage=0.8, minimum_consistency=0.6), METRICS) == []
        assert failed_by_judging(GatesConfig(), METRICS) == []

    def test_verdicts_that_were_never_measured_pass_no_gate(self) -> None:
        (failure,) = failed_by_judging(GatesConfig(minimum_coverage=0.0), None)
        assert (failure.gate, failure.value) == ("minimum_coverage", None)
        assert "fork the run" in failure.remedy


def test_which_gates_only_a_calibration_decides() -> None:
    assert GatesConfig(minimum_coverage=0.5, minimum_consistency=0.5).needing_calibration() == ()
    assert GatesConfig(minimum_agreement=0.5, must_beat_longer=True, refuse_on_drift=True).needing_calibration() == (
        "minimum_agreement",
        "must_beat_longer",
        "refuse_on_drift",
    )
