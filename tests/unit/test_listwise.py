from __future__ import annotations

import json
import random
import re
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.listwise import ListQuestion, Ranked
from app.rlaif.rendering import Case
from app.rlaif.replies import Finish, Reply
from tests.unit.test_pairwise import RUBRIC, said, turns

sizes = st.integers(2, 8)


def group(size: int = 4, *, reverse: bool = False, texts: list[str] | None = None) -> ListQuestion:
    case = Case(turns({"role": "user", "content": "Why are there tides?"}), RUBRIC, key=b"key")
    responses = tuple(map(said, texts or [f"text {number}" for number in range(size)]))
    pairs = tuple(Ranked(f"cmp_{a}_{b}", a, b) for a, b in combinations(range(len(responses)), 2))
    return ListQuestion(case, responses, pairs, reverse)


def shown(question: ListQuestion) -> list[tuple[str, str]]:
    """Ids and texts in the order shown."""
    found = re.findall(r"^<<<\S+ response (\w+)>>>\n(.*)$", question.messages()[1]["content"], re.MULTILINE)
    return [(id_, json.loads(data)[0]["content"]) for id_, data in found]


def ranking(question: ListQuestion, *tiers: list[str]) -> Reply:
    """A reply that ranks texts."""
    ids = {text: id_ for id_, text in shown(question)}
    return Reply(json.dumps({"ranking": [[ids[text] for text in tier] for tier in tiers]}))


class TestListQuestion:
    @given(sizes)
    def test_each_pair_is_seen_once_in_each_order(self, size: int) -> None:
        units = [unit for reverse in (False, True) for unit in group(size, reverse=reverse).units]
        assert Counter(unit.order for unit in units) == dict.fromkeys(Order, len(units) // 2)
        assert len(set(units)) == len(units) == size * (size - 1)

    @given(sizes)
    def test_reverse_shows_the_same_ids_the_other_way_round(self, size: int) -> None:
        assert shown(group(size)) == shown(group(size, reverse=True))[::-1]

    def test_order_of_a_unit_is_that_in_which_its_two_are_shown(self) -> None:
        question = group()
        places = {text: place for place, (_, text) in enumerate(shown(question))}
        for unit, pair in zip(question.units, question.pairs, strict=True):
            first_is_first = places[f"text {pair.first}"] < places[f"text {pair.second}"]
            assert (unit.order is Order.AB) is first_is_first

    def test_numbering_of_the_group_does_not_change_the_question(self) -> None:
        texts = ["one", "two", "three", "four"]
        assert group(texts=texts).messages() == group(texts=texts[::-1]).messages()

    def test_some_responses_stand_first_and_last_in_turn(self) -> None:
        firsts = {shown(group(texts=["a", "b", f"c{number}"]))[0][1][:1] for number in range(30)}
        assert firsts == {"a", "b", "c"}

    @given(st.permutations(range(5)), st.booleans())
    def test_ranking_answers_every_pair(self, best_first: list[int], reverse: bool) -> None:
        question = group(5, reverse=reverse)
        answers = question.read(ranking(question, *([f"text {place}"] for place in best_first)))
        for answer, pair in zip(answers, question.pairs, strict=True):
            better = best_first.index(pair.first) < best_first.index(pair.second)
            assert (answer.answer, answer.probability) == ((Answer.A, 1.0) if better else (Answer.B, 0.0))

    def test_ids_in_one_list_are_ties(self) -> None:
        question = group(3)
        answers = question.read(ranking(question, ["text 1"], ["text 0", "text 2"]))
        stated = {answer.unit.subject_id: (answer.answer, answer.probability) for answer in answers}
        assert stated["cmp_0_2"] == (Answer.TIE, 0.5)
        assert stated["cmp_0_1"] == (Answer.B, 0.0)
        assert stated["cmp_1_2"] == (Answer.A, 1.0)

    def test_an_id_by_itself_stands_for_its_list(self) -> None:
        question = group(2)
        ids = [id_ for id_, _ in shown(question)]
        assert question.read(Reply(json.dumps({"ranking": ids}))) == question.read(
            Reply(json.dumps({"ranking": [[id_] for id_ in ids]}))
        )

    def test_duplicate_missing_or_unknown_ids_answer_nothing(self) -> None:
        question = group(3)
        one, two, three = (id_ for id_, _ in shown(question))
        for ids in ([one, two], [one, two, two, three], [one, two, "zzzz"], [one, two, three, "zzzz"], [], [1, 2, 3]):
            answers = question.read(Reply(json.dumps({"ranking": [[id_] for id_ in ids]})))
            assert {answer.reason for answer in answers} == {InvalidReason.PARSE}
            assert {answer.answer for answer in answers} == {Answer.INVALID}

    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (Reply("the first is best"), InvalidReason.PARSE),
            (Reply('{"ranking": {}}'), InvalidReason.PARSE),
            (Reply('{"ranking": [], "ranking": []}'), InvalidReason.PARSE),
            (Reply("[" * 5000), InvalidReason.PARSE),
            (Reply('{"ranking": [["', Finish.LENGTH), InvalidReason.TRUNCATED),
            (Reply("I can't rank these."), InvalidReason.REFUSAL),
        ],
    )
    def test_what_is_no_ranking_is_missing_for_every_pair(self, reply: Reply, reason: InvalidReason) -> None:
        answers = group(4).read(reply)
        assert {(answer.answer, answer.reason) for answer in answers} == {(Answer.INVALID, reason)}
        assert len(answers) == 6

    def test_schema_allows_the_ids_and_nothing_else(self) -> None:
        question = group(3)
        schema = question.format.schema
        assert schema is not None
        tiers = schema["properties"]["ranking"]["items"]["items"]
        assert sorted(tiers["enum"]) == sorted(id_ for id_, _ in shown(question))

    def test_ids_say_nothing_of_the_place(self) -> None:
        rng = random.Random(0)
        texts = [f"text {rng.random()}" for _ in range(8)]
        question = group(texts=texts)
        ids = [id_ for id_, _ in shown(question)]
        assert ids != sorted(ids)
        assert len(set(ids)) == 8
