"""Thresholds keep the stated risk: on what they were set on by their bound, and on new comparisons nearly always."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.binomial import at_most, sign_test, upper_bound
from app.rlaif.cascade import fit_cascade, safe_threshold
from app.rlaif.cross_validation import prompt_folds
from app.rlaif.fitting import fit_map, out_of_fold
from app.rlaif.instruments import Calibrated
from app.rlaif.reliability import Temperature
from tests.unit.labelled import asked, labelled


class TestUpperBound:
    @pytest.mark.parametrize(
        ("hits", "trials", "bound"),
        [(0, 10, 0.2589), (1, 10, 0.3942), (5, 50, 0.1989), (0, 30, 0.0950)],  # one-sided 95 %, from tables
    )
    def test_as_in_the_tables(self, hits: int, trials: int, bound: float) -> None:
        assert upper_bound(hits, trials, error_probability=0.05) == pytest.approx(bound, abs=1e-4)

    @given(st.integers(0, 60), st.integers(1, 60), st.floats(0.001, 0.4))
    def test_it_is_where_so_few_hits_are_that_unlikely(self, hits: int, trials: int, error: float) -> None:
        bound = upper_bound(min(hits, trials), trials, error_probability=error)
        assert min(hits, trials) / trials <= bound <= 1
        if hits < trials:
            assert at_most(hits, trials, bound) == pytest.approx(error, rel=1e-6)

    def test_nothing_tried_bounds_nothing(self) -> None:
        assert upper_bound(0, 0, error_probability=0.05) == 1.0


class TestSignTest:
    @pytest.mark.parametrize(("ups", "downs", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 0.03125), (1, 9, 0.021484375)])
    def test_as_by_hand(self, ups: int, downs: int, p: float) -> None:
        assert sign_test(ups, downs) == pytest.approx(p)
        assert sign_test(downs, ups) == pytest.approx(p)


class TestSafeThreshold:
    @given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), max_size=80), st.floats(0.01, 0.45))
    def test_its_bound_is_within_the_risk_and_its_errors_too(self, rows: list[tuple[float, bool]], risk: float) -> None:
        confidences = np.array([row[0] for row in rows])
        wrong = [row[1] for row in rows]
        found = safe_threshold(confidences, wrong, maximum_risk=risk, error_probability=0.1)
        if found is None:
            return
        accepted = [is_wrong for sure, is_wrong in rows if sure >= found.confidence]
        assert accepted
        assert sum(accepted) / len(accepted) <= found.bound <= risk

    def test_few_comparisons_allow_nothing(self) -> None:
        assert safe_threshold(np.full(10, 0.9), [False] * 10, maximum_risk=0.05, error_probability=0.1) is None

    def test_more_risk_is_never_a_higher_threshold(self) -> None:
        rng = np.random.default_rng(3)
        sure = rng.uniform(0.5, 1, 400)
        wrong = (rng.uniform(size=400) > sure).tolist()
        found = [
            safe_threshold(sure, wrong, maximum_risk=risk, error_probability=0.1) for risk in (0.15, 0.2, 0.25, 0.3)
        ]
        levels = [each.confidence for each in found if each is not None]
        assert len(levels) >= 3
        assert levels == sorted(levels, reverse=True)

    def test_the_promise_is_kept_on_comparisons_to_come(self) -> None:
        """The true risk of what is accepted is above the stated one in at most a tenth of 300 calibrations."""
        rng = np.random.default_rng(11)
        broken = chosen = 0
        for _ in range(300):
            sure = rng.uniform(0.5, 1, 300)
            wrong = (rng.uniform(size=300) > sure).tolist()  # calibrated: wrong with probability 1 - confidence
            found = safe_threshold(sure, wrong, maximum_risk=0.15, error_probability=0.1)
            if found is not None:
                chosen += 1
                broken += (1 - found.confidence) / 2 > 0.15  # the mean error above the threshold
        assert chosen > 100
        assert broken <= 30


class TestFitCascade:
    def test_the_strong_step_is_set_on_what_the_cheap_one_leaves(self) -> None:
        rows = [
            labelled(n, 1.0, asked("cheap", 0.95 if n < 100 else 0.6, 0.95 if n < 100 else 0.6), asked("strong", p, p))
            for n in range(200)
            for p in (0.9,)
        ]
        # Where it is unsure, the cheap judge is wrong as often as not.
        rows = [
            each if n < 100 or n % 2 else labelled(n, 0.0, asked("cheap", 0.6, 0.6), asked("strong", 0.1, 0.1))
            for n, each in enumerate(rows)
        ]
        judges = [Calibrated("cheap", Temperature(1.0)), Calibrated("strong", Temperature(1.0))]
        unseen = [np.array([each.beliefs[judge.judge].probability for each in rows]) for judge in judges]
        cascade, bounds = fit_cascade(rows, judges, unseen, maximum_risk=0.1, then="drop")
        cheap, strong = cascade.steps
        assert cheap.threshold == pytest.approx(0.95)
        assert strong.threshold == pytest.approx(0.9)
        assert all(bound is not None and bound <= 0.1 for bound in bounds)

    def test_a_judge_that_takes_no_side_decides_nothing(self) -> None:
        rows = [labelled(n, 1.0, asked("cheap", 0.5, 0.5)) for n in range(200)]
        judges = [Calibrated("cheap", Temperature(1.0))]
        cascade, _ = fit_cascade(rows, judges, [np.full(200, 0.5)], maximum_risk=0.2, then="people")
        assert cascade.steps[0].threshold is None
        assert cascade.probability(rows[0].beliefs) is None

    def test_the_promise_is_kept_though_the_map_is_fitted_to_the_same_labels(self) -> None:
        """Of a judge that guesses nothing may be accepted at a risk of 0.495, in nine of ten calibrations. On what the
        map says of the labels that it was fitted to, more is."""
        broken = {"seen": 0, "unseen": 0}
        fit = fit_map("cheap", "isotonic")
        for seed in range(300):
            rng = np.random.default_rng(seed)
            stated, coins = rng.uniform(size=150), rng.integers(0, 2, size=150)
            rows = [labelled(n, float(coins[n]), asked("cheap", stated[n], stated[n])) for n in range(150)]
            judge = fit(rows)
            folds = prompt_folds([each.prompt_id for each in rows], 5, rng=rng)
            said = {"seen": judge.map.apply(stated), "unseen": out_of_fold(fit, rows, folds=folds)}
            for which, probabilities in said.items():
                cascade, _ = fit_cascade(rows, [judge], [probabilities], maximum_risk=0.495, then="drop")
                broken[which] += cascade.steps[0].threshold is not None
        assert broken["unseen"] <= 30 < broken["seen"]
