from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.beliefs import belief_of, lean, order_means
from app.rlaif.comparison import Answer, Order, Verdict
from tests.unit.verdicts import exact


def on(criterion: str, weight: float, order: Order, probability: float | None) -> Verdict:
    answer = Answer.INVALID if probability is None else lean(probability)
    return Verdict("judge_1", order, answer, probability, 0, criterion, weight)


def both(criterion: str, weight: float, ab: float | None, ba: float | None) -> list[Verdict]:
    return [on(criterion, weight, Order.AB, ab), on(criterion, weight, Order.BA, ba)]


class TestCriteria:
    def test_belief_is_the_mean_by_the_criteria_s_weights(self) -> None:
        belief = belief_of([*both("polite", 3.0, 0.9, 0.7), *both("true", 1.0, 0.2, 0.2)])
        assert belief is not None
        assert belief.probability == pytest.approx((3 * 0.8 + 0.2) / 4)

    def test_consistency_is_that_of_the_whole(self) -> None:
        """One criterion contradicts itself, the whole does not."""
        belief = belief_of([*both("polite", 3.0, 0.9, 0.9), *both("true", 1.0, 0.7, 0.3)])
        assert belief is not None
        assert belief.consistent

    def test_a_criterion_without_an_answer_leaves_no_belief(self) -> None:
        given_verdicts = [*both("polite", 3.0, 0.9, 0.9), *both("true", 1.0, 0.7, None)]
        assert belief_of(given_verdicts) is None
        assert order_means(given_verdicts).keys() == {Order.AB}

    def test_repeats_count_within_their_criterion(self) -> None:
        twice = [*both("polite", 1.0, 1.0, 1.0), *both("polite", 1.0, 0.0, 0.0), *both("true", 1.0, 1.0, 1.0)]
        belief = belief_of(twice)
        assert belief is not None
        assert belief.probability == pytest.approx(0.75)

    @given(st.lists(st.tuples(exact, exact, st.floats(0.1, 100)), min_size=1, max_size=5), st.randoms())
    def test_order_of_the_verdicts_does_not_matter(
        self, criteria: list[tuple[float, float, float]], random: st.DrawFn
    ) -> None:
        verdicts = [v for number, (ab, ba, weight) in enumerate(criteria) for v in both(f"c{number}", weight, ab, ba)]
        mixed = list(verdicts)
        random.shuffle(mixed)  # type: ignore[attr-defined]
        assert belief_of(mixed) == belief_of(verdicts)

    @given(st.lists(st.tuples(exact, exact, st.floats(0.1, 100)), min_size=1, max_size=5))
    def test_exchanging_the_sides_turns_it_around(self, criteria: list[tuple[float, float, float]]) -> None:
        verdicts = [v for number, (ab, ba, weight) in enumerate(criteria) for v in both(f"c{number}", weight, ab, ba)]
        one, other = belief_of(verdicts), belief_of([verdict.swap() for verdict in verdicts])
        assert one is not None
        assert other is not None
        assert other.probability == pytest.approx(1 - one.probability, abs=1e-12)
