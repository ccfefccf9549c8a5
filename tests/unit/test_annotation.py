"""What people answer, when it settles, and how it travels in prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.rlaif.annotated import AnnotatedPair, annotated_prompts, pairs_of
from app.rlaif.annotation import GivenAnswer, PersonAnswer, SettleRule, agreed, presentation_order, settled
from app.rlaif.annotators import PersonSaid, between_annotators
from app.rlaif.comparison import Answer, Order
from app.rlaif.prompt import MOST_CANDIDATES, Prompt

A, B, TIE = Answer.A, Answer.B, Answer.TIE


class TestSettling:
    @pytest.mark.parametrize(
        ("answers", "majority", "unanimous"),
        [
            ([], None, None),
            ([A], A, A),
            ([A, B], None, None),
            ([A, A, B], A, None),
            ([A, B, TIE], None, None),
            ([TIE, TIE, A, B], None, None),
            ([TIE, TIE], TIE, TIE),
        ],
    )
    def test_by_rule(self, answers: list[Answer], majority: Answer | None, unanimous: Answer | None) -> None:
        assert agreed(answers, SettleRule.MAJORITY) is majority
        assert agreed(answers, SettleRule.UNANIMOUS) is unanimous

    def test_an_adjudicator_has_the_last_word(self) -> None:
        given = [GivenAnswer("ada", A), GivenAnswer("bo", A), GivenAnswer("cy", TIE, adjudication=True)]
        assert settled(given) is TIE
        assert settled(given[:2]) is A


class TestPresentation:
    def test_is_a_fair_coin_that_falls_the_same_again(self) -> None:
        orders = [presentation_order(f"item_{i}", name) for i in range(500) for name in ("ada", "bo")]
        assert orders == [presentation_order(f"item_{i}", name) for i in range(500) for name in ("ada", "bo")]
        assert 420 < Counter(orders)[Order.AB] < 580
        assert any(one is not other for one, other in zip(orders[::2], orders[1::2], strict=True))

    @pytest.mark.parametrize("order", Order)
    @pytest.mark.parametrize("answer", PersonAnswer)
    def test_an_answer_turned_twice_is_itself(self, answer: PersonAnswer, order: Order) -> None:
        assert answer.in_order(order).in_order(order) is answer
        turned = answer in (PersonAnswer.A, PersonAnswer.B) and order is Order.BA
        assert (answer.in_order(order) is not answer) is turned


def prompt(**changes: Any) -> Prompt:
    return Prompt.model_validate({"prompt": "q", "candidates": ["x", "y", "z"], **changes})


def said(first: int, second: int, annotator: str, answer: str = "A", **more: Any) -> dict[str, Any]:
    return {"first": first, "second": second, "annotator": annotator, "answer": answer, **more}


class TestPrompt:
    def test_holds_several_answers_a_pair(self) -> None:
        labelled = prompt(
            annotations=[said(0, 1, "ada"), said(1, 0, "bo"), said(0, 2, "ada")], authors=["a", None, "b"]
        )
        assert len(labelled.annotations) == 3

    @pytest.mark.parametrize(
        "changes",
        [
            {"annotations": [said(0, 3, "ada")]},
            {"annotations": [said(1, 1, "ada")]},
            {"annotations": [said(0, 1, "ada"), said(1, 0, "ada")]},
            {"annotations": [said(0, 1, "ada", "INVALID")]},
            {"annotations": [said(0, 1, "")]},
            {"authors": ["a"]},
            {"authors": ["a", "b", ""]},
        ],
    )
    def test_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            prompt(**changes)


class TestAnnotatedPairs:
    def test_answers_are_turned_to_the_lower_index_first(self) -> None:
        labelled = prompt(
            annotations=[said(2, 0, "ada"), said(0, 2, "bo", "TIE"), said(0, 1, "cy", adjudication=True)],
            authors=["one", None, "two"],
        )
        first, second = pairs_of(labelled)
        assert (first.candidates, first.authors, first.given) == (
            ("x", "y"), ("one", None), (GivenAnswer("cy", A, adjudication=True),),
        )  # fmt: skip
        assert (second.candidates, second.given) == (("x", "z"), (GivenAnswer("ada", B), GivenAnswer("bo", TIE)))

    def test_a_pair_is_known_by_its_prompt_and_candidates(self) -> None:
        """And by its id: a data set may ask the same twice, and hear different answers."""
        given = [said(0, 1, "ada")]
        one, again, other, named = (
            next(pairs_of(prompt(annotations=given, **changes)))
            for changes in ({}, {"authors": ["x", "y", "z"]}, {"reference": "r"}, {"id": "1"})
        )
        assert one.content_hash == again.content_hash
        assert len({one.content_hash, other.content_hash, named.content_hash}) == 3

    @given(st.data())
    def test_pairs_come_back_from_the_prompts_that_hold_them(self, data: st.DataObject) -> None:
        pairs = [*self._pairs(data, "one"), *self._pairs(data, "two")]
        prompts = [Prompt.model_validate(each) for each in annotated_prompts(pairs)]
        assert len({each.id for each in prompts}) == len(prompts)
        back = [(pair.prompt["messages"][0]["content"], *turned(pair)) for each in prompts for pair in pairs_of(each)]
        differing = [pair for pair in pairs if pair.candidates[0] != pair.candidates[1]]
        there = [(pair.prompt["messages"][0]["content"], *turned(pair)) for pair in differing]
        assert Counter(answers_of(back)) == Counter(answers_of(there))

    @staticmethod
    def _pairs(data: st.DataObject, key: str) -> list[AnnotatedPair]:
        """Of one prompt; texts repeat, and so do people."""
        texts = st.sampled_from(["a", "b", "c", "d"])
        people = st.lists(
            st.builds(GivenAnswer, st.sampled_from(["ada", "bo"]), st.sampled_from([A, B, TIE]), st.just(False)),
            min_size=1,
            max_size=2,
            unique_by=lambda each: each.annotator,
        )
        fields = {"messages": [{"role": "user", "content": key}], "cohort": "general"}
        return data.draw(
            st.lists(
                st.builds(
                    AnnotatedPair,
                    prompt_key=st.just(key),
                    prompt=st.just(fields),
                    candidates=st.tuples(texts, texts),
                    authors=st.just((None, None)),
                    given=people.map(tuple),
                ),
                max_size=8,
            )
        )

    def test_a_prompt_holds_only_so_many_candidates(self) -> None:
        pairs = [
            AnnotatedPair("k", {"messages": [{"role": "user", "content": "q"}]}, (f"x{i}", f"y{i}"), (None, None),
                          (GivenAnswer("ada", A),))
            for i in range(40)
        ]  # fmt: skip
        prompts = list(annotated_prompts(pairs))
        assert [len(each["candidates"]) for each in prompts] == [MOST_CANDIDATES, 80 - MOST_CANDIDATES]
        assert [each["id"] for each in prompts] == ["k", "k/1"]

    def test_trajectories_are_candidates_like_any_other(self) -> None:
        turns = [{"role": "assistant", "content": "hello"}]
        (made,) = annotated_prompts([AnnotatedPair("k", {}, (turns, "text"), ("m", None), (GivenAnswer("ada", B),))])
        assert (made["candidates"], made["authors"]) == ([turns, "text"], ["m", None])


def turned(pair: AnnotatedPair) -> tuple[tuple[Any, ...], tuple[GivenAnswer, ...]]:
    """The pair with its candidates in the order of their texts."""
    if pair.candidates[0] <= pair.candidates[1]:
        return pair.candidates, pair.given
    given = tuple(GivenAnswer(each.annotator, each.answer.swap(), each.adjudication) for each in pair.given)
    return pair.candidates[::-1], given


def answers_of(pairs: list[Any]) -> Iterator[tuple[Any, ...]]:
    for key, candidates, given_ in pairs:
        for each in given_:
            yield key, candidates, each


class TestAgreement:
    @staticmethod
    def person(item: int, annotator: str, answer: str) -> PersonSaid:
        return PersonSaid(f"item_{item}", f"prompt_{item}", annotator, PersonAnswer(answer))

    def test_between_all_every_two_and_each_with_the_others(self) -> None:
        """Ada and Bo say the same four times in five; Cy, who skips once, always says the opposite of Ada."""
        rows = []
        for item, (ada, bo) in enumerate(zip("ABABA", "ABABB", strict=True)):
            cy = {"A": "B", "B": "A"}[ada] if item else "skip"
            rows += [self.person(item, name, each) for name, each in (("ada", ada), ("bo", bo), ("cy", cy))]
        found = between_annotators(rows, seed=1)
        assert found.items == 5
        each = {one.annotator: one for one in found.annotators}
        assert {name: (one.answered, one.skipped) for name, one in each.items()} == {
            "ada": (5, 0), "bo": (5, 0), "cy": (4, 1),
        }  # fmt: skip
        raw = {(pair.one, pair.other): pair.raw for pair in found.pairs}
        assert raw["ada", "bo"] is not None
        assert (raw["ada", "bo"].value, raw["ada", "bo"].n) == (0.8, 5)
        assert raw["ada", "cy"] is not None
        assert (raw["ada", "cy"].value, raw["ada", "cy"].n) == (0.0, 4)
        against = each["ada"].raw
        assert against is not None
        assert against.value == pytest.approx(4 / 9)
        assert against.n == 9
        assert found.raw is not None
        assert found.raw.value == pytest.approx(5 / 13)
        assert found.raw.n == 13
        assert found.alpha is not None
        assert found.alpha.low <= found.alpha.value <= found.alpha.high

    def test_perfect_agreement(self) -> None:
        rows = [self.person(i, name, "AB"[i % 2]) for i in range(8) for name in ("ada", "bo", "cy")]
        found = between_annotators(rows, seed=1)
        assert found.alpha is not None
        assert found.alpha.value == pytest.approx(1.0)
        assert all(pair.kappa is not None and pair.kappa.value == pytest.approx(1.0) for pair in found.pairs)

    def test_what_cannot_be_estimated_is_missing(self) -> None:
        found = between_annotators([self.person(1, "ada", "A"), self.person(2, "bo", "A")], seed=1)
        assert (found.alpha, found.raw, found.pairs) == (None, None, ())
        assert [one.raw for one in found.annotators] == [None, None]
        assert between_annotators([], seed=1).items == 0
