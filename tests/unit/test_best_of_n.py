"""The best of n: the mean over all subsets, and what follows from it."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.best_of_n import best_of_n

rewards = st.integers(2, 6).flatmap(
    lambda most: st.lists(st.lists(st.floats(-100, 100), min_size=most, max_size=most), min_size=1, max_size=5)
)


@given(rewards)
def test_is_the_mean_over_all_subsets(given: list[list[float]]) -> None:
    found = best_of_n(given)
    assert [each.n for each in found] == list(range(1, len(given[0]) + 1))
    for each in found:
        bests = [[max(subset) for subset in combinations(values, each.n)] for values in given]
        expected = sum(sum(values) / len(values) for values in bests) / len(bests)
        assert each.reward == pytest.approx(expected, abs=1e-9)


@given(rewards)
def test_never_falls_with_n(given: list[list[float]]) -> None:
    found = [each.reward for each in best_of_n(given)]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(found))


def test_kl_is_bounded_by_hand() -> None:
    assert [each.kl for each in best_of_n([[1.0, 2.0, 3.0]])] == pytest.approx(
        [0.0, math.log(2) - 1 / 2, math.log(3) - 2 / 3]
    )


def test_prompts_with_fewer_answers_are_left_out() -> None:
    assert [each.reward for each in best_of_n([[1.0, 3.0], [100.0], []])] == [2.0, 3.0]


@pytest.mark.parametrize("nothing", [[], [[]], [[1.0], [2.0]]])
def test_one_answer_a_prompt_leaves_no_choice(nothing: list[list[float]]) -> None:
    assert best_of_n(nothing) == []
