from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.points import OPTIONS, expected_points, parse_points, preferred
from app.rlaif.replies import ReplyToken

points = st.floats(1, 10)


def token(text: str, **probabilities: float) -> ReplyToken:
    """A token with the probabilities of the numbers that could have stood there; `n7` is the number 7."""
    return ReplyToken(text, {name.removeprefix("n"): math.log(value) for name, value in probabilities.items()})


class TestParsePoints:
    @pytest.mark.parametrize(
        ("text", "number"),
        [("7", 7), ("10", 10), (" 1\n", 1), ("**8**", 8), ("Score: 9", 9), ("rating 3.", 3), ("(4)", 4), ("[[5]]", 5)],
    )
    def test_one_number_and_no_more(self, text: str, number: int) -> None:
        assert parse_points(text) == number

    @pytest.mark.parametrize(
        "text", ["", "0", "11", "7.5", "7 or 8", "7/10", "seven", "-3", "1 0", "100", "7 points", "A", "٣"]
    )
    def test_anything_else_is_no_rating(self, text: str) -> None:
        assert parse_points(text) is None

    @given(st.text())
    def test_never_raises(self, text: str) -> None:
        assert parse_points(text) in (None, *range(1, 11))


class TestExpectedPoints:
    def test_without_log_probabilities_it_is_the_number(self) -> None:
        assert expected_points(7, ()) == 7.0

    def test_is_the_mean_of_what_could_have_been_said(self) -> None:
        assert expected_points(7, [token("7", n7=0.5, n8=0.25, n6=0.25)]) == pytest.approx(7.0)
        assert expected_points(8, [token("8", n8=0.6, n10=0.2)]) == pytest.approx((8 * 0.6 + 10 * 0.2) / 0.8)

    def test_what_is_no_number_has_no_part_in_it(self) -> None:
        assert expected_points(9, [ReplyToken("9", {"9": math.log(0.5), "The": math.log(0.5)})]) == pytest.approx(9.0)

    def test_ten_as_two_tokens(self) -> None:
        """P(10) = P(1) P(0 after 1): 0.6 * 0.9; the rest of the first token's mass is 1's."""
        reply = [token("1", n1=0.6, n9=0.4), token("0", n0=0.9)]
        assert expected_points(10, reply) == pytest.approx(10 * 0.54 + 1 * 0.06 + 9 * 0.4)

    def test_one_of_a_tokenizer_that_writes_ten_in_two(self) -> None:
        reply = [token("1", n1=0.8, n2=0.2), token("\n", n0=0.25)]
        assert expected_points(1, reply) == pytest.approx(1 * 0.6 + 10 * 0.2 + 2 * 0.2)

    def test_a_one_that_could_be_the_beginning_of_ten_is_left_out(self) -> None:
        assert expected_points(9, [token("9", n9=0.5, n8=0.25, n1=0.25)]) == pytest.approx((9 * 0.5 + 8 * 0.25) / 0.75)

    def test_a_one_beside_a_ten_is_one(self) -> None:
        assert expected_points(9, [token("9", n9=0.5, n10=0.25, n1=0.25)]) == pytest.approx(4.5 + 2.5 + 0.25)

    def test_a_one_with_nothing_behind_it_is_one(self) -> None:
        assert expected_points(1, [token("1", n1=0.9, n2=0.1)]) == pytest.approx(1.1)

    def test_white_space_and_quotes_belong_to_the_number(self) -> None:
        assert expected_points(7, [ReplyToken(' "7"', {"7": math.log(0.5), " 8": math.log(0.5)})]) == pytest.approx(7.5)

    @given(st.sampled_from(range(1, 11)), st.dictionaries(st.sampled_from((*OPTIONS, "x", "")), st.floats(-50, 0)))
    def test_stays_on_the_scale(self, stated: int, alternatives: dict[str, float]) -> None:
        expected = expected_points(stated, [ReplyToken(str(stated), alternatives)])
        assert 1 - 1e-9 <= expected <= 10 + 1e-9


class TestPreferred:
    @given(points, points)
    def test_exchanging_the_two_turns_it_around(self, first: float, second: float) -> None:
        assert preferred(first, second) == pytest.approx(1 - preferred(second, first), abs=1e-12)

    @given(points)
    def test_equal_ratings_are_a_tie(self, rating: float) -> None:
        assert preferred(rating, rating) == 0.5

    def test_more_points_are_better(self) -> None:
        assert preferred(8, 7) == pytest.approx(1 / (1 + math.exp(-1)))
