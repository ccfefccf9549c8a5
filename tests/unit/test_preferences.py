from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.beliefs import lean, order_means
from app.rlaif.comparison import Answer, Order, Verdict
from app.rlaif.preferences import AnswerCounts, DropReason, aggregate, identity
from app.rlaif.sections import PreferConfig
from tests.unit.verdicts import exact, probabilities, verdict, verdict_sets

KEEP = PreferConfig()
DROP = PreferConfig(inconsistent="drop")
configs = st.builds(
    PreferConfig,
    inconsistent=st.sampled_from(["keep", "drop"]),
    minimum_margin=st.sampled_from([0.0, 0.25, 1.0]),
    tie_weight=st.sampled_from([0.0, 0.1, 1.0]),
)


def both(ab: float | None, ba: float | None, *, judge: str = "judge_1", repeat: int = 0) -> list[Verdict]:
    """One judge's verdicts in both orders, in the comparison's own numbering."""
    return [verdict(ab, Order.AB, judge=judge, repeat=repeat), verdict(ba, Order.BA, judge=judge, repeat=repeat)]


class TestProperties:
    @given(verdict_sets(exact), configs)
    def test_swapped_verdicts_give_the_swapped_preference(self, verdicts: list[Verdict], config: PreferConfig) -> None:
        preference = aggregate(verdicts, config)
        assert aggregate([each.swap() for each in verdicts], config) == preference.swap()
        assert preference.swap().swap() == preference

    @given(verdict_sets(probabilities, judges=1, repeats=4), configs, st.randoms(use_true_random=False))
    def test_order_of_verdicts_changes_nothing(
        self, verdicts: list[Verdict], config: PreferConfig, rng: random.Random
    ) -> None:
        shuffled = rng.sample(verdicts, len(verdicts))
        assert aggregate(shuffled, config) == aggregate(verdicts, config)

    @given(verdict_sets(st.just(0.5)), configs)
    def test_ties_and_failures_never_become_a_preference(self, verdicts: list[Verdict], config: PreferConfig) -> None:
        assert aggregate(verdicts, config).probability in (None, 0.5)

    @given(verdict_sets(probabilities), configs)
    def test_failed_repeats_change_nothing_but_their_count(self, verdicts: list[Verdict], config: PreferConfig) -> None:
        valid = [each for each in verdicts if each.answer is not Answer.INVALID]
        failed = [verdict(None, order, judge=f"judge_{judge}", repeat=7) for order in Order for judge in range(2)]
        before, after = aggregate(valid, config), aggregate(valid + failed, config)
        assert (after.probability, after.weight, after.consistent) == (
            before.probability,
            before.weight,
            before.consistent,
        )
        assert after.answers.invalid == 4

    @given(verdict_sets(probabilities), configs)
    def test_what_is_dropped_has_no_weight_and_the_rest_a_probability(
        self, verdicts: list[Verdict], config: PreferConfig
    ) -> None:
        preference = aggregate(verdicts, config)
        if preference.drop_reason is None:
            assert preference.probability is not None
            assert preference.weight == (config.tie_weight if preference.is_tie else 1.0)
        else:
            assert preference.weight == 0.0


class TestAggregate:
    def test_means_orders_within_a_judge_and_judges_after(self) -> None:
        verdicts = both(0.9, 0.7) + both(0.2, 0.4, judge="judge_2")
        preference = aggregate(verdicts, KEEP)
        assert preference.probability == pytest.approx((0.8 + 0.3) / 2)
        assert preference.judges == ("judge_1", "judge_2")
        assert preference.consistent

    def test_repeats_of_one_order_do_not_outweigh_the_other(self) -> None:
        verdicts = [*both(1.0, 0.0), verdict(1.0, Order.AB, repeat=1), verdict(1.0, Order.AB, repeat=2)]
        assert aggregate(verdicts, KEEP).probability == 0.5

    def test_counts_every_answer(self) -> None:
        verdicts = both(0.9, 0.1) + both(0.5, None, judge="judge_2")
        assert aggregate(verdicts, KEEP).answers == AnswerCounts(a=1, b=1, tie=1, invalid=1)

    @pytest.mark.parametrize("verdicts", [[], both(None, None)])
    def test_nothing_valid_is_dropped(self, verdicts: list[Verdict]) -> None:
        preference = aggregate(verdicts, KEEP)
        assert (preference.probability, preference.drop_reason) == (None, DropReason.NO_VALID_VERDICT)

    def test_one_order_alone_is_dropped(self) -> None:
        preference = aggregate(both(0.9, None), KEEP)
        assert (preference.probability, preference.drop_reason) == (None, DropReason.ONE_ORDER)

    def test_judge_with_one_order_does_not_count_beside_one_with_both(self) -> None:
        preference = aggregate(both(0.9, 0.7) + both(0.0, None, judge="judge_2"), KEEP)
        assert preference.probability == pytest.approx(0.8)
        assert preference.judges == ("judge_1",)

    def test_two_judges_with_one_order_each_do_not_make_both(self) -> None:
        verdicts = [verdict(0.9, Order.AB, judge="judge_1"), verdict(0.9, Order.BA, judge="judge_2")]
        assert aggregate(verdicts, KEEP).drop_reason is DropReason.ONE_ORDER

    def test_contradiction_is_kept_near_a_tie_or_dropped(self) -> None:
        kept, dropped = aggregate(both(0.9, 0.1), KEEP), aggregate(both(0.9, 0.1), DROP)
        assert (kept.probability, kept.weight, kept.consistent) == (0.5, KEEP.tie_weight, False)
        assert (dropped.drop_reason, dropped.weight) == (DropReason.INCONSISTENT, 0.0)

    def test_judges_who_disagree_are_not_inconsistent(self) -> None:
        preference = aggregate(both(0.9, 0.9) + both(0.2, 0.2, judge="judge_2"), DROP)
        assert preference.consistent
        assert preference.drop_reason is None

    def test_small_margin_is_dropped(self) -> None:
        config = PreferConfig(minimum_margin=0.5)
        assert aggregate(both(0.7, 0.7), config).drop_reason is DropReason.BELOW_MARGIN
        assert aggregate(both(0.75, 0.75), config).drop_reason is None

    def test_tie_answer_is_one_half_whatever_its_probability_says(self) -> None:
        tie = Verdict("judge_1", Order.AB, Answer.TIE, 0.6)
        assert order_means([tie]) == {Order.AB: 0.5}


class TestLean:
    @given(probabilities)
    def test_follows_the_probability(self, probability: float) -> None:
        assert lean(probability) is (Answer.A if probability > 0.5 else Answer.B if probability < 0.5 else Answer.TIE)


class TestIdentity:
    def test_same_tokens_are_identical(self) -> None:
        assert identity([1, 2], [3, 4], [3, 4], max_length=100) is DropReason.IDENTICAL

    def test_same_beginning_is_identical_when_the_rest_is_cut(self) -> None:
        first, second = [3, 4, 5], [3, 4, 6]
        assert identity([1, 2], first, second, max_length=4) is DropReason.IDENTICAL_AFTER_TRUNCATION
        assert identity([1, 2], first, second, max_length=5) is None

    def test_prompt_that_leaves_no_room_makes_all_identical(self) -> None:
        assert identity([1, 2, 3], [4], [5], max_length=2) is DropReason.IDENTICAL_AFTER_TRUNCATION

    def test_a_prefix_is_not_the_whole(self) -> None:
        assert identity([1], [2, 3], [2, 3, 4], max_length=4) is None
