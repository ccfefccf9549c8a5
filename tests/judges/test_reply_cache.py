"""Replies that need not be asked for again: only for the very same question, and never twice in one shard."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from contextlib import aclosing
from typing import Any

import pytest

from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.judges import OpenAIJudge
from app.rlaif.questions import AnswerFormat, PairAnswer
from app.rlaif.reply_keys import HOW_IT_IS_ASKED, Remembered, asker, reply_key
from tests.judges.questions import POLITE, RUDE, both_orders, question
from tests.judges.running import KEY, Running, running
from workers.judges.build import build_judge
from workers.judges.cache import BLOCK, ReplyCache
from workers.judges.protocol import Judged

SPEC: dict[str, Any] = {
    "family": "scripted",
    "model": "scripted-1",
    "secret": "judge-key",
    "top_logprobs": 5,
    "max_attempts": 1,
    "timeout_s": 1.0,
    "usd_per_million_input_tokens": 2.0,
    "usd_per_million_output_tokens": 8.0,
}


class Shelf:
    """What is stored, and how often it was looked into."""

    def __init__(self) -> None:
        self.replies: dict[bytes, Remembered] = {}
        self.looks = 0

    def recall(self, keys: Collection[bytes]) -> Mapping[bytes, Remembered]:
        self.looks += 1
        return {key: self.replies[key] for key in keys if key in self.replies}

    def keep(self, judged: Judged) -> None:
        if judged.kept is not None:
            self.replies[judged.kept.key] = judged.kept.remembered


async def asked(endpoint: Running, shelf: Shelf, questions: Any, **changes: Any) -> list[Judged]:
    spec = OpenAIJudge(base_url=endpoint.base_url, **(SPEC | changes))
    judge = build_judge(spec, api_key=KEY, may_spend=lambda: True, cache=ReplyCache(spec, shelf.recall))
    given = []
    async with aclosing(judge), aclosing(judge.judge(questions)) as answers:
        async for judged in answers:
            shelf.keep(judged)
            given.append(judged)
    return given


def answer_of(judged: Judged) -> Answer:
    (answer,) = judged.answers
    assert isinstance(answer, PairAnswer)
    return answer.answer


class TestReplies:
    def test_of_the_same_question_are_taken_at_no_cost(self) -> None:
        async def scenario() -> None:
            shelf, pairs = Shelf(), [(POLITE, RUDE), (POLITE, f"{RUDE} Now.")]
            async with running() as endpoint:
                first = await asked(endpoint, shelf, both_orders(pairs))
                again = await asked(endpoint, shelf, both_orders(pairs))
                assert len(endpoint.judge.calls) == len(first) == 4
            assert all(judged.cached and judged.attempts == 0 and judged.cost_usd == 0 for judged in again)
            assert sum(judged.saved_usd for judged in again) == sum(judged.cost_usd for judged in first) > 0
            assert {judged.prompt_hash: judged.answers for judged in again} == {
                judged.prompt_hash: judged.answers for judged in first
            }

        asyncio.run(scenario())

    def test_answer_the_mirrored_comparison_in_its_own_numbering(self) -> None:
        async def scenario() -> None:
            shelf = Shelf()
            async with running() as endpoint:
                (first,) = await asked(endpoint, shelf, [question(POLITE, RUDE, order=Order.AB)])
                (mirrored,) = await asked(endpoint, shelf, [question(RUDE, POLITE, order=Order.BA)])
                assert len(endpoint.judge.calls) == 1
            assert (answer_of(first), answer_of(mirrored)) == (Answer.A, Answer.B)

        asyncio.run(scenario())

    def test_are_kept_without_the_key_that_an_endpoint_echoes(self) -> None:
        async def scenario() -> None:
            shelf = Shelf()
            async with running() as endpoint:
                for _ in range(2):
                    (given,) = await asked(endpoint, shelf, [question(f"{POLITE} [[fault:echo-key-in-reply]]", RUDE)])
                    assert KEY not in repr(given)
                    assert "[redacted]" in (given.raw_text or "")
            assert given.cached
            assert KEY not in repr(shelf.replies)

        asyncio.run(scenario())

    def test_are_looked_up_by_blocks(self) -> None:
        async def scenario() -> None:
            shelf = Shelf()
            async with running() as endpoint:
                pairs = [(POLITE, f"{RUDE} {number}") for number in range(BLOCK)]
                await asked(endpoint, shelf, both_orders(pairs), max_concurrency=64)
            assert shelf.looks == 2
            assert len(shelf.replies) == 2 * BLOCK

        asyncio.run(scenario())

    def test_of_equal_questions_in_one_shard_one_is_asked(self) -> None:
        async def scenario() -> None:
            shelf = Shelf()
            async with running() as endpoint:
                given = await asked(endpoint, shelf, [question(comparison_id=f"cmp_{at}") for at in range(8)])
                assert len(endpoint.judge.calls) == 1
            assert sum(judged.cached for judged in given) == 7
            assert {answer_of(judged) for judged in given} == {Answer.A}

        asyncio.run(scenario())

    def test_that_never_came_are_asked_for_again_by_those_who_waited(self) -> None:
        async def scenario() -> None:
            shelf, twice = Shelf(), [question(f"{POLITE} [[fault:garbage]]", comparison_id=id_) for id_ in "ab"]
            async with running() as endpoint:
                given = await asked(endpoint, shelf, twice)
                assert len(endpoint.judge.calls) == 2
            assert {judged.answers[0].reason for judged in given} == {InvalidReason.SERVER}
            assert shelf.replies == {}

        asyncio.run(scenario())

    def test_that_say_nothing_plainly_are_replies_all_the_same(self) -> None:
        async def scenario() -> None:
            shelf, refused = Shelf(), f"{POLITE} [[fault:refusal]]"
            async with running() as endpoint:
                await asked(endpoint, shelf, [question(refused)])
                (again,) = await asked(endpoint, shelf, [question(refused)])
                assert len(endpoint.judge.calls) == 1
            assert again.answers[0].reason is InvalidReason.REFUSAL

        asyncio.run(scenario())


class TestKeys:
    FORMAT = AnswerFormat(("A", "B", "C"), "Answer.")
    SPEC = OpenAIJudge(base_url="https://example.com/v1", **SPEC)

    @pytest.mark.parametrize(
        "changes",
        [
            {"base_url": "https://example.org/v1"},
            {"model": "scripted-2"},
            {"temperature": 0.5},
            {"max_tokens": 9},
            {"top_logprobs": 6},
            {"token_limit_field": "max_completion_tokens"},
        ],
    )
    def test_whatever_determines_a_reply_is_in_them(self, changes: dict[str, Any]) -> None:
        other = OpenAIJudge.model_validate(self.SPEC.model_dump() | changes)
        assert asker(other, self.FORMAT) != asker(self.SPEC, self.FORMAT)

    def test_how_it_is_asked_is_not(self) -> None:
        other = self.SPEC.model_copy(update={"max_concurrency": 1, "timeout_s": 9.0, "secret": "other", "family": "f"})
        assert asker(other, self.FORMAT) == asker(self.SPEC, self.FORMAT)
        assert OpenAIJudge.model_fields.keys() >= HOW_IT_IS_ASKED

    def test_the_form_of_the_answer_the_messages_and_the_repeat_are(self) -> None:
        by = asker(self.SPEC, self.FORMAT)
        assert asker(self.SPEC, AnswerFormat((), "Answer.", schema={"type": "object"})) != by
        assert len({reply_key(by, "a", 0), reply_key(by, "b", 0), reply_key(by, "a", 1)}) == 3
