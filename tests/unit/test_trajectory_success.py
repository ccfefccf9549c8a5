"""Success and pass^k of judged trajectories: what is missing is never a failure, and trials have no order."""

from __future__ import annotations

import random
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.resampling import Resampler
from app.rlaif.trajectory_success import Trial, pass_hats, success, trajectory_success

RESAMPLER = Resampler(0, 200)
OUTCOMES = st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5)
JUDGED = st.none() | st.booleans()
TRIALS = st.lists(
    st.builds(
        Trial,
        prompt=st.sampled_from("pqr"),
        cohort=st.just("agents"),
        author=st.sampled_from(["one", "two", None]),
        succeeded=JUDGED,
        known=JUDGED,
    ),
    min_size=1,
    max_size=12,
)


def trials(by_prompt: list[list[bool | None]], *, author: str | None = None, known: bool | None = None) -> list[Trial]:
    return [
        Trial(f"p{place}", "agents", author, outcome, known)
        for place, outcomes in enumerate(by_prompt)
        for outcome in outcomes
    ]


class TestSuccess:
    def test_the_mean_of_both_presentations_decides(self) -> None:
        assert success([8.0, 7.0], threshold=7.5) is True
        assert success([8.0, 6.9], threshold=7.5) is False

    def test_without_a_rating_it_is_missing(self) -> None:
        assert success([10.0, None], threshold=7.5) is None
        assert success([], threshold=7.5) is None


class TestPassHat:
    def test_by_hand(self) -> None:
        found = trajectory_success(trials([[True, True, True, False], [False] * 4]), resampler=RESAMPLER).overall
        assert [each.value.value for each in found.pass_hat] == pytest.approx([3 / 8, 3 / 6 / 2, 1 / 4 / 2, 0])
        assert [each.left_out for each in found.pass_hat] == [0, 0, 0, 0]

    def test_tasks_with_fewer_trials_are_left_out_and_counted(self) -> None:
        found = trajectory_success(trials([[True, True], [False]]), resampler=RESAMPLER).overall
        assert [(each.value.value, each.value.n, each.left_out) for each in found.pass_hat] == [(0.5, 2, 0), (1, 1, 1)]

    def test_a_missing_trial_is_no_failure(self) -> None:
        found = trajectory_success(trials([[True, None], [None, None]]), resampler=RESAMPLER).overall
        assert found.success.rate is not None
        assert (found.success.rate.value, found.success.rate.n) == (1.0, 1)
        assert (found.success.trajectories, found.success.prompts, found.success.missing) == (4, 2, 3)
        assert [each.k for each in found.pass_hat] == [1]

    def test_trials_of_two_authors_are_two_tasks(self) -> None:
        both = [*trials([[True, True]], author="one"), *trials([[False, False]], author="two")]
        found = trajectory_success(both, resampler=RESAMPLER)
        assert [each.value.value for each in found.overall.pass_hat] == [0.5, 0.5]
        assert [each.author for each in found.authors] == ["one", "two"]

    @given(OUTCOMES)
    def test_pass_1_is_the_success_rate(self, outcomes: list[list[bool | None]]) -> None:
        found = trajectory_success(trials(outcomes), resampler=RESAMPLER).overall
        assert found.success.rate is not None
        assert found.pass_hat[0].value.value == pytest.approx(found.success.rate.value)

    @given(OUTCOMES)
    def test_it_falls_with_k(self, outcomes: list[list[bool | None]]) -> None:
        values = [
            each.value.value for each in trajectory_success(trials(outcomes), resampler=RESAMPLER).overall.pass_hat
        ]
        assert all(more <= less + 1e-12 for less, more in pairwise(values))

    @given(st.lists(st.booleans(), min_size=1, max_size=6), st.data())
    def test_it_is_the_share_of_subsets_without_a_failure(self, outcomes: list[bool], data: st.DataObject) -> None:
        k = data.draw(st.integers(1, len(outcomes)))
        subsets = list(combinations(outcomes, k))
        judged = [(Trial("p", "c", None, outcome, None), outcome) for outcome in outcomes]
        assert pass_hats(judged, resampler=RESAMPLER)[k - 1].value.value == pytest.approx(
            sum(all(subset) for subset in subsets) / len(subsets)
        )

    @given(TRIALS, st.randoms(use_true_random=False))
    def test_the_order_of_trials_changes_nothing(self, given_: list[Trial], random_: random.Random) -> None:
        shuffled = list(given_)
        random_.shuffle(shuffled)
        assert trajectory_success(shuffled, resampler=RESAMPLER) == trajectory_success(given_, resampler=RESAMPLER)


class TestGold:
    def test_the_judge_against_what_is_known(self) -> None:
        judged = [
            Trial("p", "c", None, True, True),
            Trial("p", "c", None, True, False),
            Trial("q", "c", None, False, False),
            Trial("q", "c", None, False, True),
            Trial("r", "c", None, False, False),
            Trial("r", "c", None, None, True),
            Trial("r", "c", None, True, None),
        ]
        gold = trajectory_success(judged, resampler=RESAMPLER).overall.gold
        assert gold is not None
        assert gold.accuracy is not None
        assert gold.kappa is not None
        assert (gold.accuracy.value, gold.accuracy.n) == (0.6, 5)
        # Observed 0.6; both say "success" 2 of 5 times: by chance 0.4 * 0.4 + 0.6 * 0.6.
        assert gold.kappa.value == pytest.approx((0.6 - 0.52) / 0.48)
        assert (gold.false_successes, gold.false_failures) == (1, 1)
        assert [each.value.value for each in gold.judged_pass_hat] == pytest.approx([1 / 3, 1 / 2])
        assert [each.value.value for each in gold.known_pass_hat] == pytest.approx([1 / 3, 0])

    def test_nothing_known_is_no_figure(self) -> None:
        assert trajectory_success(trials([[True]]), resampler=RESAMPLER).overall.gold is None

    def test_kappa_has_no_value_where_all_outcomes_are_the_same(self) -> None:
        gold = trajectory_success(trials([[True], [True]], known=True), resampler=RESAMPLER).overall.gold
        assert gold is not None
        assert gold.accuracy is not None
        assert (gold.accuracy.value, gold.kappa) == (1.0, None)


class TestDifferences:
    def test_an_author_that_always_does_better(self) -> None:
        both = [*trials([[True, True]] * 8, author="one"), *trials([[True, False]] * 8, author="two")]
        (found,) = trajectory_success(both, resampler=RESAMPLER).differences
        assert (found.first, found.second, found.difference.value, found.difference.n) == ("one", "two", 0.5, 8)
        assert found.p_value == pytest.approx(2 / 2**8) == found.holm_p_value

    def test_authors_without_a_common_prompt_are_not_compared(self) -> None:
        apart = [Trial("p", "c", "one", True, None), Trial("q", "c", "two", False, None)]
        assert trajectory_success(apart, resampler=RESAMPLER).differences == []

    def test_whoever_is_not_named_is_not_compared(self) -> None:
        assert (
            trajectory_success([*trials([[True]]), *trials([[True]], author="one")], resampler=RESAMPLER).differences
            == []
        )

    def test_unequal_numbers_of_trials(self) -> None:
        both = [*trials([[True, True, False]] * 6, author="one"), *trials([[False]] * 6, author="two")]
        (found,) = trajectory_success(both, resampler=RESAMPLER).differences
        assert found.difference.value == pytest.approx(2 / 3)
        assert found.p_value == pytest.approx(2 / 2**6)

    @given(TRIALS)
    def test_every_p_value_is_one_and_three_authors_are_adjusted(self, given_: list[Trial]) -> None:
        for each in trajectory_success(given_, resampler=RESAMPLER).differences:
            assert 0 < each.p_value <= each.holm_p_value <= 1
