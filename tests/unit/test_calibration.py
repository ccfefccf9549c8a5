from __future__ import annotations

import pytest

from app.rlaif.calibration import JudgedComparison, disagreement, judge_metrics, prefer_longer_share
from app.rlaif.comparison import InvalidReason, Order, Verdict
from tests.unit.verdicts import verdict


def judged(
    ab: float | None, ba: float | None, *, tokens: tuple[int, int] = (10, 10), invalid: tuple[InvalidReason, ...] = ()
) -> JudgedComparison:
    verdicts: tuple[Verdict, ...] = (verdict(ab, Order.AB), verdict(ba, Order.BA))
    return JudgedComparison(verdicts, invalid, *tokens)


class TestJudgeMetrics:
    def test_measures_the_pull_of_the_first_place(self) -> None:
        metrics = judge_metrics([judged(0.9, 0.1), judged(0.9, 0.1), judged(0.2, 0.8), judged(0.9, 0.9)])
        assert metrics.position_consistency == 0.25
        assert metrics.first_position_preference == 0.25

    def test_tie_in_one_order_alone_is_inconsistent_without_a_direction(self) -> None:
        metrics = judge_metrics([judged(0.5, 0.9), judged(0.5, 0.5)])
        assert metrics.position_consistency == 0.5
        assert metrics.first_position_preference == 0.0

    def test_of_several_judges_each_keeps_to_its_side_by_itself(self) -> None:
        steady = [verdict(p, order, judge="judge_1") for p, order in ((0.9, Order.AB), (0.9, Order.BA))]
        torn = [verdict(p, order, judge="judge_2") for p, order in ((0.6, Order.AB), (0.0, Order.BA))]
        metrics = judge_metrics([JudgedComparison((*steady, *torn), (), 10, 10)])
        assert metrics.position_consistency == 0.5

    def test_counts_what_is_missing_by_reason(self) -> None:
        metrics = judge_metrics(
            [
                judged(None, None, invalid=(InvalidReason.TIMEOUT, InvalidReason.REFUSAL)),
                judged(0.9, None, invalid=(InvalidReason.TIMEOUT,)),
                judged(0.9, 0.9),
            ]
        )
        assert metrics.verdicts == 6
        assert metrics.coverage == 0.5
        assert metrics.invalid == {InvalidReason.TIMEOUT: 2, InvalidReason.REFUSAL: 1}
        assert metrics.position_consistency == 1.0

    def test_measures_the_pull_of_length_over_both_orders(self) -> None:
        metrics = judge_metrics([judged(0.9, 0.8, tokens=(20, 10)), judged(0.3, 0.1, tokens=(20, 10))])
        assert metrics.prefer_longer_share == 0.5

    def test_nothing_asked_measures_nothing(self) -> None:
        metrics = judge_metrics([])
        assert (metrics.verdicts, metrics.coverage, metrics.invalid) == (0, 1.0, {})
        assert (metrics.position_consistency, metrics.first_position_preference) == (None, None)
        assert metrics.prefer_longer_share is None


class TestPreferLonger:
    def test_leaves_out_ties_and_equal_lengths(self) -> None:
        assert prefer_longer_share([(0.9, 5, 3), (0.1, 3, 5), (0.9, 3, 5), (0.5, 9, 1), (0.9, 4, 4)]) == pytest.approx(
            2 / 3
        )

    def test_undefined_without_a_decision(self) -> None:
        assert prefer_longer_share([(0.5, 9, 1)]) is None


class TestDisagreement:
    def test_is_the_share_of_opposite_sides_where_both_take_one(self) -> None:
        training = {"c1": 0.9, "c2": 0.8, "c3": 0.5, "c4": 0.1, "only": 0.9}
        evaluation = {"c1": 0.7, "c2": 0.2, "c3": 0.9, "c4": 0.3}
        assert disagreement(training, evaluation) == pytest.approx(1 / 3)
        assert disagreement(evaluation, training) == pytest.approx(1 / 3)

    def test_undefined_without_a_shared_decision(self) -> None:
        assert disagreement({"c1": 0.9}, {"c2": 0.1}) is None
