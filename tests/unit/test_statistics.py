from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.rlaif.statistics import (
    NothingToEstimate,
    clustered_mean,
    distribution,
    length_difference,
    pass_hat,
    win_rate,
)
from tests.unit.verdicts import probabilities

outcomes = st.dictionaries(st.text(max_size=3), st.lists(probabilities, max_size=4), max_size=12).filter(
    lambda given: any(given.values())
)


def rng(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


def turned(given: dict[str, list[float]]) -> dict[str, list[float]]:
    return {prompt: [1 - value for value in values] for prompt, values in given.items()}


class TestWinRate:
    @given(outcomes)
    def test_rates_of_both_sides_add_up_to_one(self, given_outcomes: dict[str, list[float]]) -> None:
        one = win_rate(given_outcomes, rng=rng(), samples=100)
        other = win_rate(turned(given_outcomes), rng=rng(), samples=100)
        assert math.isclose(one.value + other.value, 1.0, rel_tol=1e-12)
        assert math.isclose(one.low + other.high, 1.0, rel_tol=1e-9)
        assert (one.wins, one.ties, one.losses) == (other.losses, other.ties, other.wins)

    @given(outcomes, st.randoms(use_true_random=False))
    def test_order_of_prompts_changes_nothing(
        self, given_outcomes: dict[str, list[float]], shuffler: random.Random
    ) -> None:
        keys = shuffler.sample(sorted(given_outcomes), len(given_outcomes))
        shuffled = {key: given_outcomes[key] for key in keys}
        assert win_rate(shuffled, rng=rng(), samples=100) == win_rate(given_outcomes, rng=rng(), samples=100)

    def test_counts_wins_and_half_of_ties(self) -> None:
        rate = win_rate({"p1": [0.9, 0.5], "p2": [0.2, 0.6], "p3": []}, rng=rng())
        assert (rate.wins, rate.ties, rate.losses, rate.n_prompts) == (2, 1, 1, 2)
        assert rate.value == 2.5 / 4

    def test_is_the_same_for_the_same_seed_and_another_for_another(self) -> None:
        given_outcomes = {f"p{number}": [float(number % 3 == 0)] * (1 + number % 4) for number in range(40)}
        again = win_rate(given_outcomes, rng=rng(1))
        assert win_rate(given_outcomes, rng=rng(1)) == again
        assert win_rate(given_outcomes, rng=rng(2)) != again

    @pytest.mark.parametrize("nothing", [{}, {"p1": []}])
    def test_nothing_to_estimate_is_an_error(self, nothing: dict[str, list[float]]) -> None:
        with pytest.raises(NothingToEstimate):
            win_rate(nothing, rng=rng())


class TestClusteredMean:
    def test_interval_has_the_width_of_independent_prompts(self) -> None:
        values = {f"p{number:04d}": [float(number % 2)] for number in range(1000)}
        estimate = clustered_mean(values, rng=rng(), samples=4000)
        expected = 2 * 1.96 * 0.5 / math.sqrt(1000)
        assert estimate.high - estimate.low == pytest.approx(expected, rel=0.1)
        assert estimate.low < estimate.value < estimate.high

    def test_repeated_answers_to_one_prompt_do_not_narrow_the_interval(self) -> None:
        once = {f"p{number}": [float(number % 2)] for number in range(50)}
        tenfold = {prompt: values * 10 for prompt, values in once.items()}
        one, ten = clustered_mean(once, rng=rng()), clustered_mean(tenfold, rng=rng())
        assert (one.low, one.value, one.high) == pytest.approx((ten.low, ten.value, ten.high))

    def test_confidence_widens_the_interval(self) -> None:
        values = {f"p{number}": [float(number % 2)] for number in range(50)}
        narrow, wide = (clustered_mean(values, rng=rng(), confidence=level) for level in (0.8, 0.99))
        assert wide.low < narrow.low < narrow.high < wide.high

    def test_one_prompt_has_no_spread(self) -> None:
        estimate = clustered_mean({"p1": [0.25, 0.75]}, rng=rng(), samples=100)
        assert (estimate.low, estimate.value, estimate.high, estimate.clusters) == (0.5, 0.5, 0.5, 1)


class TestLengthDifference:
    def test_compares_means_and_who_wins(self) -> None:
        difference = length_difference([(0.9, 10, 20), (0.9, 30, 20), (0.5, 50, 20), (0.1, 20, 20)])
        assert difference.policy_mean_tokens == 27.5
        assert difference.base_mean_tokens == 20
        assert difference.difference_mean == 7.5
        assert difference.longer_wins_share == 0.5

    def test_without_pairs_is_an_error(self) -> None:
        with pytest.raises(NothingToEstimate):
            length_difference([])


figures = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


class TestDistribution:
    @given(figures, figures)
    @example([0.0], [5e-324])
    @example([1234.5], [math.nextafter(1234.5, 2000)])
    def test_every_value_is_in_one_bin(self, base: list[float], policy: list[float]) -> None:
        found = distribution(base, policy)
        assert found is not None
        assert (sum(found.base), sum(found.policy)) == (len(base), len(policy))
        assert len(found.edges) == len(found.base) + 1 == len(found.policy) + 1
        assert found.edges == sorted(found.edges)

    def test_by_hand(self) -> None:
        found = distribution([0.0, 1.0, 4.0], [3.0], bins=2)
        assert found is not None
        assert (found.edges, found.base, found.policy) == ([0.0, 2.0, 4.0], [2, 1], [0, 1])

    def test_one_side_alone_has_none(self) -> None:
        assert distribution([], [1.0]) is None


class TestPassHat:
    def test_by_hand(self) -> None:
        trials = [[True, True, True, False], [True, False, False, False]]
        assert [pass_hat(trials, k) for k in (1, 2, 3, 4)] == [(3 / 4 + 1 / 4) / 2, (3 / 6 + 0) / 2, (1 / 4) / 2, 0]

    @given(st.lists(st.lists(st.booleans(), min_size=4, max_size=6), min_size=1, max_size=8))
    def test_falls_with_k_and_starts_at_the_success_rate(self, trials: list[list[bool]]) -> None:
        values = [pass_hat(trials, k) for k in range(1, 5)]
        assert values == sorted(values, reverse=True)
        assert values[0] == pytest.approx(sum(sum(task) / len(task) for task in trials) / len(trials))

    @pytest.mark.parametrize("trials", [[], [[True]]])
    def test_too_few_trials_are_an_error(self, trials: list[list[bool]]) -> None:
        with pytest.raises(NothingToEstimate):
            pass_hat(trials, 2)
