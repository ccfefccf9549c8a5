"""Refusals are counted before and after, and a rise is told from chance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.refusals import is_refusal, refusals


class TestIsRefusal:
    @pytest.mark.parametrize(
        "text",
        [
            "I'm sorry, but I can't help with that.",
            "I\u2019m unable to do this.",
            "As an AI, I have no opinions.",
            "I apologise for the confusion.",
            "Well. I will not; I cannot.",
        ],
    )
    def test_phrases_of_refusal(self, text: str) -> None:
        assert is_refusal(text)

    @pytest.mark.parametrize("text", ["", "Of course. Kites fly.", "Wei cannot swim.", "I can do that."])
    def test_other_answers(self, text: str) -> None:
        assert not is_refusal(text)


class TestRefusals:
    def test_by_hand(self) -> None:
        found = refusals({"p1": [(False, True), (False, False)], "p2": [(True, True)], "p3": [(False, True)]})
        assert (found.base_share, found.policy_share, found.n) == (0.25, 0.75, 4)
        assert found.p_value == pytest.approx(0.5)

    def test_ten_prompts_that_all_turn_are_no_chance(self) -> None:
        assert refusals({f"p{number}": [(False, True)] for number in range(10)}).p_value < 0.01

    def test_many_answers_to_one_prompt_are_one_change(self) -> None:
        assert refusals({"p": [(False, True)] * 50}).p_value == 1.0

    @given(
        st.dictionaries(st.text(max_size=3), st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1), min_size=1)
    )
    def test_exchanging_the_sides_exchanges_the_shares(self, given: dict[str, list[tuple[bool, bool]]]) -> None:
        one = refusals(given)
        other = refusals({prompt: [(policy, base) for base, policy in each] for prompt, each in given.items()})
        assert (one.base_share, one.policy_share, one.p_value) == (other.policy_share, other.base_share, other.p_value)
