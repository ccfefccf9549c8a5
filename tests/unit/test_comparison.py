from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.comparison import Answer, Comparison, Order, Verdict
from tests.unit.verdicts import exact, probabilities, verdict


class TestSwap:
    @given(st.text(), st.text(), st.text())
    def test_comparison_swapped_twice_is_itself(self, prompt: str, first: str, second: str) -> None:
        comparison = Comparison(prompt, first, second)
        assert comparison.swap().swap() == comparison
        assert comparison.swap() == Comparison(prompt, second, first)

    @given(st.none() | exact, st.sampled_from(Order))
    def test_verdict_swapped_twice_is_itself(self, probability: float | None, order: Order) -> None:
        given_verdict = verdict(probability, order)
        assert given_verdict.swap().swap() == given_verdict
        assert given_verdict.swap().order is not order

    @given(probabilities)
    def test_swap_turns_the_probability_around(self, probability: float) -> None:
        swapped = verdict(probability).swap()
        assert swapped.probability == 1 - probability
        assert swapped.answer is verdict(probability).answer.swap()

    def test_tie_and_invalid_stay_what_they_are(self) -> None:
        assert [answer.swap() for answer in Answer] == [Answer.B, Answer.A, Answer.TIE, Answer.INVALID]


class TestVerdict:
    def test_invalid_with_a_probability_is_refused(self) -> None:
        with pytest.raises(ValueError, match="INVALID"):
            Verdict("judge_1", Order.AB, Answer.INVALID, 0.5)

    @pytest.mark.parametrize("answer", [Answer.A, Answer.B, Answer.TIE])
    def test_answer_without_a_probability_is_refused(self, answer: Answer) -> None:
        with pytest.raises(ValueError, match="unless it is INVALID"):
            Verdict("judge_1", Order.AB, answer, None)

    @pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
    def test_probability_outside_the_unit_interval_is_refused(self, probability: float) -> None:
        with pytest.raises(ValueError, match="outside"):
            Verdict("judge_1", Order.AB, Answer.A, probability)
