from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.comparison import Answer, Order
from app.rlaif.rendering import prompt_hash
from app.rlaif.stored_answers import StoredAnswer, keys_of
from app.schemas.verdict import VerdictOut
from tests.unit.test_pairwise import pair

ROW: dict[str, Any] = {"prompt_id": "p1", "first": 0, "second": 1, "order": "AB", "answer": "A"}


def stored(**changes: Any) -> StoredAnswer:
    return StoredAnswer.model_validate(ROW | changes)


class TestKey:
    def test_told_from_the_other_side_it_is_the_same_question(self) -> None:
        assert stored().key == stored(first=1, second=0, order="BA", answer="B").key
        assert stored().key != stored(order="BA").key

    @pytest.mark.parametrize("other", [{"prompt_id": "p2"}, {"second": 2}, {"repeat": 1}, {"criterion": "polite"}])
    def test_of_another_question_is_another(self, other: dict[str, Any]) -> None:
        assert stored().key != stored(**other).key

    @pytest.mark.parametrize("order", list(Order))
    def test_is_one_of_its_question_s(self, order: Order) -> None:
        asked = pair(order=order, prompt_id="p1")
        asked = replace(asked, first=replace(asked.first, candidate=0), second=replace(asked.second, candidate=1))
        keys = keys_of(asked, asked=prompt_hash(asked.messages()))
        assert stored(order=order.value).key in keys
        assert StoredAnswer(order=order, answer=Answer.A, comparison_id="cmp_1").key in keys
        assert StoredAnswer(order=order, answer=Answer.A, prompt_hash=prompt_hash(asked.messages())).key in keys
        assert stored(order="BA" if order is Order.AB else "AB").key not in keys

    def test_a_sampled_completion_is_no_candidate(self) -> None:
        asked = pair(prompt_id="p1")
        assert stored().key not in keys_of(asked, asked=prompt_hash(asked.messages()))


class TestPresented:
    @given(st.sampled_from(Order), st.floats(0, 1))
    def test_is_about_what_was_shown_first(self, order: Order, probability: float) -> None:
        shown = stored(order=order.value, probability=probability).presented()
        assert shown.probability == (probability if order is Order.AB else 1.0 - probability)


def test_every_field_of_an_exported_verdict_may_stand_in_a_line() -> None:
    verdict = dict.fromkeys(VerdictOut.model_fields) | {
        "comparison_id": "c",
        "order": "AB",
        "answer": "A",
        "repeat": 0,
        "criterion": "",
    }
    assert StoredAnswer.model_validate(verdict).answer is Answer.A
