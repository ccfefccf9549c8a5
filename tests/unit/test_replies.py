from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.replies import (
    Finish,
    PresentedAnswer,
    Reply,
    ReplyToken,
    answer_place,
    invalid,
    parse_answer,
    read_label,
    soft_label,
)
from tests.unit.verdicts import exact


def read(text: str, finish: Finish = Finish.STOP, alternatives: Mapping[str, float] | None = None) -> PresentedAnswer:
    """What a reply of one token says; without alternatives it comes without log-probabilities."""
    return read_label(Reply(text, finish, () if alternatives is None else (ReplyToken(text, alternatives),)))


class TestParseAnswer:
    @pytest.mark.parametrize(
        ("reply", "answer"),
        [
            ("A", Answer.A),
            (" B\n", Answer.B),
            ("C", Answer.TIE),
            ("TIE", Answer.TIE),
            ("A.", Answer.A),
            ("(B)", Answer.B),
            ("**A**", Answer.A),
            ("[[C]]", Answer.TIE),
            ('"B"', Answer.B),
            ("answer: A", Answer.A),
            ("final verdict: B", Answer.B),
        ],
    )
    def test_one_label_and_no_more_is_an_answer(self, reply: str, answer: Answer) -> None:
        assert parse_answer(reply) is answer

    @pytest.mark.parametrize(
        "reply",
        ["", "a", "AB", "A B", "A or B", "A is better", "Both", "D", "<think>B", "not A", "AA", "1", "none", "A\nB"],
    )
    def test_anything_else_is_invalid_and_never_a_guess(self, reply: str) -> None:
        assert parse_answer(reply) is Answer.INVALID

    @given(st.text())
    def test_never_raises(self, reply: str) -> None:
        assert parse_answer(reply) in Answer


class TestReadLabel:
    def test_vote_without_alternatives(self) -> None:
        assert read("A") == PresentedAnswer(Answer.A, 1.0)
        assert read("B") == PresentedAnswer(Answer.B, 0.0)
        assert read("C") == PresentedAnswer(Answer.TIE, 0.5)

    def test_alternatives_make_the_label_soft(self) -> None:
        alternatives = {"A": math.log(0.6), "B": math.log(0.2), "C": math.log(0.1), "The": math.log(0.1)}
        given_answer = read("A", alternatives=alternatives)
        assert given_answer.probability == pytest.approx((0.6 + 0.05) / 0.9)

    def test_stated_tie_is_one_half_whatever_the_alternatives(self) -> None:
        alternatives = {"A": math.log(0.4), "C": math.log(0.6)}
        assert read("C", alternatives=alternatives) == PresentedAnswer(Answer.TIE, 0.5)

    def test_label_that_is_no_likelier_than_the_other_is_a_tie(self) -> None:
        assert read("A", alternatives={"A": -1.0, "B": -1.0}).answer is Answer.TIE

    def test_alternatives_without_a_label_leave_the_vote(self) -> None:
        assert read("A", alternatives={"The": -0.1}).probability == 1.0

    @pytest.mark.parametrize(
        ("text", "finish", "reason"),
        [
            ("Hm, both.", Finish.STOP, InvalidReason.PARSE),
            ("Let me think", Finish.LENGTH, InvalidReason.TRUNCATED),
            ("", Finish.LENGTH, InvalidReason.TRUNCATED),
            ("I'm sorry, I can't compare these.", Finish.STOP, InvalidReason.REFUSAL),
            ("I cannot help with that", Finish.LENGTH, InvalidReason.REFUSAL),
            ("", Finish.REFUSED, InvalidReason.REFUSAL),
            ("A", Finish.REFUSED, InvalidReason.REFUSAL),
        ],
    )
    def test_no_answer_has_its_reason(self, text: str, finish: Finish, reason: InvalidReason) -> None:
        given_answer = read(text, finish, {"A": -0.1})
        assert given_answer == invalid(reason)

    def test_thoughts_are_not_the_reply(self) -> None:
        assert read("<think>A is short, B is kind.</think>\n\nB").answer is Answer.B
        assert read("<think>B").answer is Answer.INVALID

    def test_whole_label_at_the_token_limit_counts(self) -> None:
        assert read("A", Finish.LENGTH) == PresentedAnswer(Answer.A, 1.0)

    @given(st.text(), st.sampled_from(Finish), st.dictionaries(st.text(max_size=2), st.floats(-50, 0)))
    def test_missing_is_never_a_number(self, text: str, finish: Finish, alternatives: dict[str, float]) -> None:
        given_answer = read(text, finish, alternatives)
        assert (given_answer.probability is None) == (given_answer.answer is Answer.INVALID)


class TestSoftLabel:
    labels = st.floats(-1000, 0)

    @given(labels, labels, labels)
    def test_exchanging_labels_turns_it_around(self, a: float, b: float, tie: float) -> None:
        one, other = soft_label({"A": a, "B": b, "C": tie}), soft_label({"A": b, "B": a, "C": tie})
        assert one is not None
        assert other is not None
        assert math.isclose(one + other, 1.0, abs_tol=1e-12)

    def test_tokens_that_differ_in_white_space_add_up(self) -> None:
        assert soft_label({"A": math.log(0.3), " A": math.log(0.3), "B": math.log(0.4)}) == pytest.approx(0.6)

    def test_missing_label_has_no_mass(self) -> None:
        assert soft_label({"B": -0.01, "x": -5.0}) == 0.0

    @pytest.mark.parametrize("alternatives", [{}, {"C": -0.1}, {"a": -0.1}])
    def test_undefined_without_a_side(self, alternatives: dict[str, float]) -> None:
        assert soft_label(alternatives) is None


class TestAnswerPlace:
    @pytest.mark.parametrize(
        ("tokens", "place"),
        [(["A"], 0), ([" B", "<eos>"], 0), (["A", " is", " B"], 2), (["T", "IE"], None), ([], None)],
    )
    def test_is_the_last_label(self, tokens: list[str], place: int | None) -> None:
        assert answer_place(tokens) == place


class TestPresentedAnswer:
    @given(exact, st.sampled_from(Order))
    def test_turning_back_twice_is_itself(self, probability: float, order: Order) -> None:
        shown = PresentedAnswer(Answer.A if probability > 0.5 else Answer.B, probability)
        assert shown.in_own_numbering(order).in_own_numbering(order) == shown
        assert shown.in_own_numbering(Order.AB) == shown

    def test_invalid_stays_invalid_with_its_reason(self) -> None:
        assert invalid(InvalidReason.SERVER).in_own_numbering(Order.BA) == invalid(InvalidReason.SERVER)

    @pytest.mark.parametrize(
        ("answer", "probability", "reason"),
        [(Answer.INVALID, 0.5, InvalidReason.PARSE), (Answer.INVALID, None, None), (Answer.A, None, None)],
    )
    def test_half_an_answer_is_refused(
        self, answer: Answer, probability: float | None, reason: InvalidReason | None
    ) -> None:
        with pytest.raises(ValueError, match=str(answer)):
            PresentedAnswer(answer, probability, reason)
