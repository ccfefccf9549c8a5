from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.logistic import FitDiverged, Floats, fit_logistic, log_evidence, logit, sigmoid
from app.rlaif.reliability import (
    calibration_error,
    correctness,
    fit_isotonic,
    fit_temperature,
    reliability_curve,
)
from tests.unit.verdicts import exact

judged = st.lists(st.tuples(exact, st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=60)


def columns(rows: list[tuple[float, float]]) -> tuple[Floats, Floats]:
    table = np.array(rows, dtype=np.float64)
    return table[:, 0], table[:, 1]


def planted(size: int, *, inverse: float, seed: int = 11) -> tuple[Floats, Floats]:
    """Probabilities of a judge whose true P is sigmoid(inverse * logit p), and outcomes drawn from that."""
    rng = np.random.default_rng(seed)
    stated = rng.uniform(0.02, 0.98, size)
    return stated, (rng.uniform(size=size) < sigmoid(inverse * logit(stated, clip=1e-6))).astype(np.float64)


class TestCalibrationError:
    def test_by_hand(self) -> None:
        probabilities, outcomes = columns([(0.92, 1), (0.08, 1), (0.94, 1), (0.62, 0), (0.5, 1)])
        in_bins = [abs(2 - (0.92 + 0.92 + 0.94)), abs(0 - 0.62), abs(0.5 - 0.5)]
        assert calibration_error(probabilities, outcomes) == pytest.approx(sum(in_bins) / 5)
        curve = reliability_curve(probabilities, outcomes)
        assert [(each.low, each.count) for each in curve] == [(0.5, 1), (0.6, 1), (pytest.approx(0.9), 3)]
        assert curve[-1].accuracy == pytest.approx(2 / 3)

    def test_certain_judge_that_is_right_has_none(self) -> None:
        probabilities, outcomes = columns([(1, 1), (0, 0)])
        assert calibration_error(probabilities, outcomes) == 0

    @given(judged)
    def test_swapping_every_comparison_changes_nothing(self, rows: list[tuple[float, float]]) -> None:
        probabilities, outcomes = columns(rows)
        assert calibration_error(1 - probabilities, 1 - outcomes) == pytest.approx(
            calibration_error(probabilities, outcomes)
        )

    def test_correctness_gives_half_for_any_tie(self) -> None:
        probabilities, outcomes = columns([(0.9, 1), (0.9, 0), (0.5, 1), (0.2, 0.5), (0.2, 0)])
        assert correctness(probabilities, outcomes).tolist() == [1, 0, 0.5, 0.5, 1]


class TestTemperature:
    @pytest.mark.parametrize("inverse", [0.4, 1.0, 2.5])
    def test_recovers_a_planted_temperature(self, inverse: float) -> None:
        stated, outcomes = planted(20_000, inverse=inverse)
        assert fit_temperature(stated, outcomes).inverse == pytest.approx(inverse, rel=0.07)

    def test_mends_overconfidence_without_changing_sides(self) -> None:
        stated, outcomes = planted(5000, inverse=0.3)
        mended = fit_temperature(stated, outcomes).apply(stated)
        assert calibration_error(mended, outcomes) < 0.02 < 0.12 < calibration_error(stated, outcomes)
        assert (np.sign(mended - 0.5) == np.sign(stated - 0.5)).all()

    def test_judge_that_is_wrong_more_often_than_right_says_nothing(self) -> None:
        stated, outcomes = planted(500, inverse=-1)
        fitted = fit_temperature(stated, outcomes)
        assert fitted.inverse == 0
        assert (fitted.apply(stated) == 0.5).all()


class TestIsotonic:
    def test_pools_violators_by_hand(self) -> None:
        """0.6 holds {1, 0} and 0.7 {0}, which with their mirrors at 0.4 and 0.3 pool to one half."""
        fitted = fit_isotonic(*columns([(0.6, 1), (0.6, 0), (0.7, 0), (0.9, 1)]))
        assert fitted.apply(np.array([0.6, 0.7, 0.9, 0.1])) == pytest.approx([0.5, 0.5, 1, 0])

    def test_a_probability_and_its_mirror_are_one_level_however_they_are_rounded(self) -> None:
        fitted = fit_isotonic(*columns([(0.3, 1), (0.7, 0), (0.3, 0), (0.7, 1), (0.3, 0)]))
        assert fitted.apply(np.array([0.3, 1 - 0.7])) == pytest.approx([0.4, 0.4])

    def test_recovers_a_planted_curve(self) -> None:
        stated, outcomes = planted(20_000, inverse=0.4)
        grid = np.linspace(0.1, 0.9, 9)
        expected = sigmoid(0.4 * logit(grid, clip=1e-6))
        assert fit_isotonic(stated, outcomes).apply(grid) == pytest.approx(expected, abs=0.04)

    @given(judged)
    def test_never_falls_and_is_antisymmetric(self, rows: list[tuple[float, float]]) -> None:
        fitted = fit_isotonic(*columns(rows))
        grid = np.linspace(0, 1, 33)
        calibrated = fitted.apply(grid)
        assert (np.diff(calibrated) >= -1e-12).all()
        assert fitted.apply(1 - grid) == pytest.approx(1 - calibrated)

    @given(judged)
    def test_fits_no_worse_than_the_stated_probabilities(self, rows: list[tuple[float, float]]) -> None:
        probabilities, outcomes = columns(rows)
        fitted = fit_isotonic(probabilities, outcomes).apply(probabilities)
        assert np.mean((fitted - outcomes) ** 2) <= np.mean((probabilities - outcomes) ** 2) + 1e-12


class TestLogistic:
    def test_is_at_the_optimum_of_its_loss(self) -> None:
        rng = np.random.default_rng(2)
        features = rng.normal(size=(300, 4))
        outcomes = (rng.uniform(size=300) < sigmoid(features @ np.array([1.0, -2.0, 0.0, 0.5]))).astype(np.float64)
        weights = fit_logistic(features, outcomes, l2=2.0)
        gradient = features.T @ (sigmoid(features @ weights) - outcomes) + 2.0 * weights
        assert gradient == pytest.approx(np.zeros(4), abs=1e-6)

    @pytest.mark.parametrize("planted_penalty", [0.1, 10.0])
    def test_evidence_recovers_the_spread_that_weights_were_drawn_from(self, planted_penalty: float) -> None:
        rng = np.random.default_rng(4)
        features = rng.normal(size=(800, 20))
        planted_weights = rng.normal(scale=planted_penalty**-0.5, size=20)
        outcomes = (rng.uniform(size=800) < sigmoid(features @ planted_weights)).astype(np.float64)
        penalties = [0.01, 0.1, 1.0, 10.0, 100.0]
        evidence = [
            log_evidence(fit_logistic(features, outcomes, l2=penalty), features, outcomes, l2=penalty)
            for penalty in penalties
        ]
        assert penalties[int(np.argmax(evidence))] == planted_penalty

    def test_separable_data_has_an_answer(self) -> None:
        (weight,) = fit_logistic(np.array([[1.0], [-1.0]]), np.array([1.0, 0.0]), l2=1e-3)
        assert 3 < weight < 10

    def test_not_a_number_is_an_error(self) -> None:
        with pytest.raises(FitDiverged):
            fit_logistic(np.array([[np.nan], [1.0]]), np.array([1.0, 0.0]), l2=1.0)

    @given(st.floats(-1e6, 1e6), exact)
    def test_sigmoid_and_logit_are_antisymmetric_and_bounded(self, value: float, probability: float) -> None:
        assert float(sigmoid(-value)) == pytest.approx(1 - float(sigmoid(value)), abs=1e-15)
        assert logit(1 - probability, clip=1e-6) == -logit(probability, clip=1e-6)
        assert abs(logit(probability, clip=1e-6)) <= 14
