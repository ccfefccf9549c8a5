"""What every kind of judge promises: one suite, run against the program, the endpoint, the local model and a replay."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from app.rlaif.comparison import Answer, Order
from app.rlaif.judges import ChecksJudge, LocalJudge, ReplayJudge, RewardModelJudge
from app.rlaif.pairwise import PairQuestion
from tests.judges.questions import POLITE, RUDE, both_orders, question
from tests.judges.running import PROVIDER, answers, running
from tests.judges.storing import record_program
from workers.judges.build import build_judge
from workers.judges.protocol import Judge, Judged

JudgeFactory = Callable[[], AbstractAsyncContextManager[Judge]]
PAIRS = [(POLITE, RUDE), (RUDE, POLITE), (POLITE, POLITE + " It is the moon."), (RUDE, RUDE), (POLITE, "")]


def never_asked() -> bool:
    raise AssertionError("a judge that costs nothing asks for no money")


@pytest.fixture(params=["checks", "openai", "anthropic", "local", "reward_model", "replay"])
def make_judge(request: pytest.FixtureRequest) -> JudgeFactory:
    @asynccontextmanager
    async def make() -> AsyncIterator[Judge]:
        if request.param in ("openai", "anthropic"):
            PROVIDER.set(request.param)
            async with running() as endpoint, aclosing(endpoint.client(max_concurrency=8)) as judge:
                yield judge
            return
        if request.param == "checks":
            yield build_judge(ChecksJudge(), may_spend=never_asked)
            return
        if request.param == "replay":
            tmp_path: Path = request.getfixturevalue("tmp_path")
            stored = await record_program(tmp_path / "answers.jsonl", [question(), *both_orders(PAIRS * 5)])
            yield build_judge(ReplayJudge(family="checks", answers="answers_1"), may_spend=never_asked, answers=stored)
            return
        if request.param == "reward_model":
            trained: Path = request.getfixturevalue("reward_model_dir")
            reward_model = RewardModelJudge(family="tiny", checkpoint="checkpoint_1", batch_size=2)
            yield build_judge(reward_model, may_spend=never_asked, model_dir=trained)
            return
        model_dir: Path = request.getfixturevalue("judge_model_dir")
        spec = LocalJudge(family="tiny", model="model_tiny", batch_size=2)
        yield build_judge(spec, may_spend=never_asked, model_dir=model_dir)

    return make


def swapped(asked: PairQuestion) -> PairQuestion:
    """The same two responses shown in the same order, but with the comparison's numbering exchanged."""
    order = Order.BA if asked.order is Order.AB else Order.AB
    return replace(asked, first=asked.second, second=asked.first, order=order)


class TestEveryJudge:
    def test_answers_each_question_exactly_once(self, make_judge: JudgeFactory) -> None:
        async def scenario() -> None:
            async with make_judge() as judge:
                given = await answers(judge, both_orders(PAIRS * 5))
            asked = [(each.comparison_id, each.order, each.repeat) for each in both_orders(PAIRS * 5)]
            assert sorted((each.comparison_id, each.order, each.repeat) for each in given) == sorted(asked)

        asyncio.run(scenario())

    def test_answers_nothing_when_asked_nothing(self, make_judge: JudgeFactory) -> None:
        async def scenario() -> None:
            async with make_judge() as judge:
                assert await answers(judge, []) == []

        asyncio.run(scenario())

    def test_verdict_is_complete_and_leans_to_its_answer(self, make_judge: JudgeFactory) -> None:
        async def scenario() -> None:
            async with make_judge() as judge:
                given = await answers(judge, both_orders(PAIRS))
            for each in given:
                assert each.probability is not None
                assert each.invalid_reason is None
                assert each.attempts == 1
                side = Answer.A if each.probability > 0.5 else Answer.B if each.probability < 0.5 else Answer.TIE
                assert each.answer is side

        asyncio.run(scenario())

    def test_renumbering_what_is_shown_swaps_the_verdict(self, make_judge: JudgeFactory) -> None:
        async def scenario() -> None:
            questions = list(both_orders(PAIRS))
            async with make_judge() as judge:
                given = {(each.comparison_id, each.order): each for each in await answers(judge, questions)}
            async with make_judge() as judge:
                mirrored = {
                    (each.comparison_id, each.order): each
                    for each in await answers(judge, [swapped(each) for each in questions])
                }
            for asked in questions:
                one = given[(asked.comparison_id, asked.order)]
                other = mirrored[(asked.comparison_id, swapped(asked).order)]
                assert other.answer is one.answer.swap()
                assert one.probability is not None
                assert other.probability == pytest.approx(1 - one.probability, abs=1e-9)
                assert one.prompt_hash == other.prompt_hash

        asyncio.run(scenario())

    def test_same_question_again_gets_the_same_verdict(self, make_judge: JudgeFactory) -> None:
        async def scenario() -> None:
            async with make_judge() as judge:
                first, again = await answers(judge, [question(), question()])
            assert replace(first, latency_s=0) == replace(again, latency_s=0)

        asyncio.run(scenario())

    def test_takes_questions_as_there_is_room_for_them(self, make_judge: JudgeFactory) -> None:
        taken = count()

        def endless() -> Iterator[PairQuestion]:
            while True:
                yield question(comparison_id=f"cmp_{next(taken)}")

        async def scenario() -> None:
            async with make_judge() as judge, aclosing(judge.judge(endless())) as given:
                seen = await first_of(given, 5)
            assert len({each.verdicts()[0].comparison_id for each in seen}) == 5
            assert next(taken) <= 32

        asyncio.run(scenario())


async def first_of(given: AsyncIterator[Judged], size: int) -> list[Judged]:
    return [await anext(given) for _ in range(size)]
