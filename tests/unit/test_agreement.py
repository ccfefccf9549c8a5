from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.agreement import (
    AnsweredTwice,
    Ratings,
    accuracy,
    cohens_kappa,
    krippendorff_alpha,
    majority,
    three_way_accuracy,
)
from app.rlaif.comparison import Answer
from app.rlaif.measured import Measured
from app.rlaif.statistics import NothingToEstimate

A, B, TIE, INVALID = Answer.A, Answer.B, Answer.TIE, Answer.INVALID
Measure = Callable[..., Measured]
answers = st.sampled_from([A, B, TIE, INVALID])
pairs = st.lists(st.tuples(answers, answers), min_size=1, max_size=40)


def rng(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


def twice(given_pairs: Iterable[tuple[Answer, Answer]]) -> list[AnsweredTwice]:
    return [AnsweredTwice(f"p{number:04d}", one, other) for number, (one, other) in enumerate(given_pairs)]


def ratings(units: Iterable[Iterable[Answer]]) -> list[Ratings]:
    return [Ratings(f"p{number:04d}", tuple(unit)) for number, unit in enumerate(units)]


def value(measure: Measure, given_pairs: Iterable[tuple[Answer, Answer]]) -> float | None:
    try:
        return measure(twice(given_pairs), rng=rng(), samples=50).value
    except NothingToEstimate:
        return None


class TestAccuracy:
    PAIRS = ((A, A), (A, B), (B, TIE), (B, B), (TIE, A), (TIE, TIE), (A, INVALID), (B, TIE))

    def test_is_of_comparisons_in_which_people_take_a_side_and_a_tie_is_half(self) -> None:
        measured = accuracy(twice(self.PAIRS), rng=rng())
        assert (measured.value, measured.n) == ((1 + 0 + 0.5 + 1 + 0.5) / 5, 5)
        assert 0 <= measured.low < measured.value < measured.high <= 1

    def test_three_way_counts_a_tie_as_an_answer(self) -> None:
        measured = three_way_accuracy(twice(self.PAIRS), rng=rng())
        assert (measured.value, measured.n) == (3 / 7, 7)

    @pytest.mark.parametrize("measure", [accuracy, three_way_accuracy, cohens_kappa])
    def test_nothing_valid_is_an_error(self, measure: Measure) -> None:
        with pytest.raises(NothingToEstimate):
            measure(twice([(A, INVALID), (INVALID, B)]), rng=rng())


class TestCohensKappa:
    def test_of_a_two_way_table_by_hand(self) -> None:
        """Fifty proposals, 20 and 15 agreed on: observed 0.7, expected 0.5 * 0.6 + 0.5 * 0.4."""
        table = [(A, A)] * 20 + [(A, B)] * 5 + [(B, A)] * 10 + [(B, B)] * 15
        assert cohens_kappa(twice(table), rng=rng()).value == pytest.approx(0.4)

    def test_of_cohens_own_table(self) -> None:
        """Cohen (1960), table 1, in hundredths: observed 0.70, expected 0.41, kappa 0.492."""
        cells = {
            (A, A): 88, (A, B): 14, (A, TIE): 18, (B, A): 10, (B, B): 40, (B, TIE): 10, (TIE, A): 2, (TIE, B): 6,
            (TIE, TIE): 12,
        }  # fmt: skip
        table = [pair for pair, count in cells.items() for _ in range(count)]
        assert cohens_kappa(twice(table), rng=rng()).value == pytest.approx((0.70 - 0.41) / (1 - 0.41))

    def test_interval_holds_the_large_sample_one(self) -> None:
        table = ([(A, A)] * 20 + [(A, B)] * 5 + [(B, A)] * 10 + [(B, B)] * 15) * 10
        measured = cohens_kappa(twice(table), rng=rng())
        half = 1.96 * (0.7 * 0.3 / 500) ** 0.5 / 0.5
        assert measured.high - measured.low == pytest.approx(2 * half, rel=0.15)

    def test_has_no_value_when_all_answers_are_one(self) -> None:
        with pytest.raises(NothingToEstimate, match="all answers are the same"):
            cohens_kappa(twice([(A, A), (A, A)]), rng=rng())

    @given(pairs)
    def test_does_not_depend_on_who_is_the_reference(self, given_pairs: list[tuple[Answer, Answer]]) -> None:
        exchanged = [(other, one) for one, other in given_pairs]
        assert value(cohens_kappa, exchanged) == pytest.approx(value(cohens_kappa, given_pairs))


class TestKrippendorffAlpha:
    def test_of_two_observers_and_two_values(self) -> None:
        """Krippendorff (2011), section A: ten units, alpha 0.095."""
        meg = (0, 1, 0, 0, 0, 0, 0, 0, 1, 0)
        owen = (1, 1, 1, 0, 0, 1, 0, 0, 0, 0)
        units = [[(A, B)[one], (A, B)[other]] for one, other in zip(meg, owen, strict=True)]
        assert krippendorff_alpha(ratings(units), rng=rng()).value == pytest.approx(0.095, abs=5e-4)

    def test_of_three_values_with_answers_missing_by_hand(self) -> None:
        """One answer alone and INVALID ones say nothing; each pair of a comparison weighs 1 / (its answers - 1)."""
        units = [[A, A, TIE], [B, B], [A, B, INVALID], [A], [A, A]]
        observed = 2 * 1 + 2 * (2 / 2)  # A-B both ways, A-TIE twice both ways at 1 / (3 - 1)
        totals = {A: 2 + 1 + 2, B: 2 + 1, TIE: 1}
        expected = sum(totals[one] * totals[other] for one in totals for other in totals if one is not other) / (9 - 1)
        measured = krippendorff_alpha(ratings(units), rng=rng())
        assert measured.value == pytest.approx(1 - observed / expected)
        assert measured.n == 4

    def test_is_one_in_agreement_and_about_zero_by_chance(self) -> None:
        drawn = random.Random(5)
        alike = [[answer] * 3 for answer in (A, B, TIE)]
        chance = [[drawn.choice([A, B, TIE]) for _ in range(3)] for _ in range(4000)]
        assert krippendorff_alpha(ratings(alike), rng=rng()).value == 1
        assert krippendorff_alpha(ratings(chance), rng=rng(), samples=50).value == pytest.approx(0, abs=0.03)

    @given(st.lists(st.lists(answers, max_size=4), max_size=12), st.randoms(use_true_random=False))
    def test_order_of_comparisons_and_annotators_changes_nothing(
        self, units: list[list[Answer]], shuffler: random.Random
    ) -> None:
        given_units = ratings(units)
        shuffled = [
            Ratings(unit.prompt_id, tuple(shuffler.sample(unit.answers, len(unit.answers))))
            for unit in shuffler.sample(given_units, len(given_units))
        ]
        try:
            expected = krippendorff_alpha(given_units, rng=rng(), samples=20)
        except NothingToEstimate:
            with pytest.raises(NothingToEstimate):
                krippendorff_alpha(shuffled, rng=rng(), samples=20)
            return
        measured = krippendorff_alpha(shuffled, rng=rng(), samples=20)
        assert (measured.value, measured.low, measured.high) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )


class TestEveryMeasure:
    @pytest.mark.parametrize("measure", [accuracy, three_way_accuracy, cohens_kappa])
    @given(given_pairs=pairs)
    def test_swapping_every_comparison_changes_nothing(
        self, measure: Measure, given_pairs: list[tuple[Answer, Answer]]
    ) -> None:
        swapped = [(one.swap(), other.swap()) for one, other in given_pairs]
        assert value(measure, swapped) == pytest.approx(value(measure, given_pairs))

    @pytest.mark.parametrize("measure", [accuracy, three_way_accuracy, cohens_kappa])
    def test_repeated_comparisons_of_one_prompt_do_not_narrow_the_interval(self, measure: Measure) -> None:
        once = twice([(A, A), (A, B), (B, B), (B, A), (A, A), (B, B)] * 5)
        one, five = measure(once, rng=rng()), measure(once * 5, rng=rng())
        assert (five.value, five.low, five.high) == pytest.approx((one.value, one.low, one.high))


class TestMajority:
    @pytest.mark.parametrize(
        ("given_answers", "expected"),
        [
            ([A, A, B], A), ([TIE, TIE, A], TIE), ([A, B, TIE], None), ([A, B], None), ([A, INVALID], A), ([], None),
            ([INVALID], None), ([B, INVALID, INVALID], B),
        ],
    )  # fmt: skip
    def test_is_more_than_half_of_the_valid(self, given_answers: list[Answer], expected: Answer | None) -> None:
        assert majority(given_answers) is expected
