from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.beliefs import Belief
from app.rlaif.comparison import Answer, Order, Verdict
from app.rlaif.golden import Expected
from app.rlaif.golden_outcome import OutcomeKind, answers_by_order, outcome, summary
from app.rlaif.instruments import EQUAL_VOTES

ANSWERS = st.sampled_from(list(Answer))
SWAPPED = {Expected.A: Expected.B, Expected.B: Expected.A, Expected.TIE: Expected.TIE}


def verdict(order: Order, answer: Answer, probability: float | None = None, judge: str = "j") -> Verdict:
    stated = {Answer.A: 1.0, Answer.B: 0.0, Answer.TIE: 0.5, Answer.INVALID: None}[answer]
    return Verdict(judge, order, answer, stated if probability is None else probability)


def kind(expected: Expected, ab: Answer, ba: Answer) -> OutcomeKind:
    found = outcome(expected, {Order.AB: ab, Order.BA: ba})
    assert found is not None
    return found.kind


class TestOutcome:
    @pytest.mark.parametrize(
        ("expected", "ab", "ba", "found"),
        [
            (Expected.A, Answer.A, Answer.A, OutcomeKind.PASSED),
            (Expected.TIE, Answer.TIE, Answer.TIE, OutcomeKind.PASSED),
            (Expected.A, Answer.B, Answer.B, OutcomeKind.WRONG),
            (Expected.A, Answer.TIE, Answer.TIE, OutcomeKind.WRONG),
            (Expected.TIE, Answer.A, Answer.B, OutcomeKind.INCONSISTENT),
            (Expected.A, Answer.A, Answer.TIE, OutcomeKind.INCONSISTENT),
            (Expected.A, Answer.A, Answer.INVALID, OutcomeKind.MISSING),
        ],
    )
    def test_table(self, expected: Expected, ab: Answer, ba: Answer, found: OutcomeKind) -> None:
        assert kind(expected, ab, ba) is found

    @given(st.sampled_from(list(Expected)), ANSWERS, ANSWERS)
    def test_an_invalid_answer_never_passes_and_only_the_expected_one_does(
        self, expected: Expected, ab: Answer, ba: Answer
    ) -> None:
        passed = kind(expected, ab, ba) is OutcomeKind.PASSED
        assert passed is ({ab.value, ba.value} == {expected.value})

    @given(st.sampled_from(list(Expected)), ANSWERS, ANSWERS)
    def test_exchanging_the_responses_exchanges_nothing_else(self, expected: Expected, ab: Answer, ba: Answer) -> None:
        assert kind(expected, ab, ba) is kind(SWAPPED[expected], ba.swap(), ab.swap())

    @pytest.mark.parametrize("given_so_far", [{}, {Order.AB: Answer.A}])
    def test_is_open_until_both_orders_are_answered(self, given_so_far: dict[Order, Answer]) -> None:
        assert outcome(Expected.A, given_so_far) is None


class FirstJudge:
    """An instrument that hears one judge alone."""

    def probability(self, beliefs: Mapping[str, Belief]) -> float | None:
        return beliefs["one"].probability if "one" in beliefs else None


class TestAnswersByOrder:
    def test_one_verdict_counts_as_it_stands(self) -> None:
        """A stated tie stays one, whatever its probability leans to."""
        assert answers_by_order([verdict(Order.AB, Answer.TIE, 0.6)], EQUAL_VOTES) == {Order.AB: Answer.TIE}

    def test_several_judges_are_read_by_the_instrument(self) -> None:
        given_ = [verdict(Order.BA, Answer.A, 0.6, "one"), verdict(Order.BA, Answer.B, 0.1, "other")]
        assert answers_by_order(given_, EQUAL_VOTES) == {Order.BA: Answer.B}
        assert answers_by_order(given_, FirstJudge()) == {Order.BA: Answer.A}
        assert answers_by_order(given_[1:], FirstJudge()) == {Order.BA: Answer.INVALID}

    def test_criteria_count_by_their_weights(self) -> None:
        given_ = [
            replace(verdict(Order.AB, Answer.A), criterion="heavy", weight=3.0),
            replace(verdict(Order.AB, Answer.B), criterion="light", weight=1.0),
        ]
        assert answers_by_order(given_, EQUAL_VOTES) == {Order.AB: Answer.A}
        broken = replace(verdict(Order.AB, Answer.INVALID), criterion="light", weight=1.0)
        assert answers_by_order([given_[0], broken], EQUAL_VOTES) == {Order.AB: Answer.INVALID}

    def test_invalid_ones_are_left_out_unless_there_is_nothing_else(self) -> None:
        broken = [verdict(Order.AB, Answer.INVALID, judge=name) for name in ("one", "other")]
        assert answers_by_order(broken, EQUAL_VOTES) == {Order.AB: Answer.INVALID}
        third = verdict(Order.AB, Answer.B, judge="third")
        assert answers_by_order([*broken, third], EQUAL_VOTES) == {Order.AB: Answer.B}


def test_summary_counts_each_once() -> None:
    pairs = [(Answer.A, Answer.A), (Answer.B, Answer.B), (Answer.A, Answer.B), (Answer.A, Answer.INVALID)]
    outcomes = [outcome(Expected.A, {Order.AB: ab, Order.BA: ba}) for ab, ba in pairs]
    counts = summary([*outcomes, None])
    assert (counts.passed, counts.wrong, counts.inconsistent, counts.missing, counts.waiting) == (1, 1, 1, 1, 1)
    assert counts.total == 5
