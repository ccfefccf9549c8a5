"""Answers between a judge and the database: stored beside the calls, bounded, counted once, and never lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Comparison, Completion, Purpose, Stage, Verdict
from app.repositories.units import add_missing
from app.rlaif.comparison import Answer, Order
from app.rlaif.questions import PairAnswer, Unit
from tests.integration.stages.in_process import InProcess, Watch
from tests.integration.stages.test_judging import RECIPE, prompts_with
from tests.integration.stages.world import World
from tests.stack import wait_for
from workers.judges.protocol import Judged
from workers.stages import ledger as ledger_module
from workers.stages.contract import ShardWork
from workers.stages.ledger import Ledger

ANSWERS = 40
PRICE = Decimal("0.001")


class Slow(InProcess):
    """Its transactions wait until they are let go, before they commit."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.go = threading.Event()
        self.writing = threading.Event()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        with super().transaction() as session:
            yield session
            self.writing.set()
            assert self.go.wait(10)


class Desk:
    """A judge shard in hand, and comparisons of its run to answer."""

    def __init__(self, world: World, *, budget: float | None = None) -> None:
        self.world = world
        recipe = RECIPE | {"budget": {"judge_usd": budget}}
        self.run_id = world.add_run(recipe, world.add_prompts(prompts_with("Yes.", "No.", "Maybe.", count=ANSWERS)))
        imported = world.next_shard(self.run_id)
        assert imported is not None
        world.work_off(imported)
        shard = world.next_shard(self.run_id)
        assert shard is not None
        self.work: ShardWork = world.claim(shard)
        self.comparisons = self._compare()
        self.context = Slow(self.work, world.settings, world.sessions, progress=Watch())
        self.reports = 0
        self.ledger = Ledger(self.context, world.judge, spent=Decimal(0), on_stored=self._report)

    def _report(self) -> None:
        self.reports += 1

    def _compare(self) -> list[str]:
        by_prompt: dict[str, list[str]] = {}
        for completion in self.world.rows(Completion, self.run_id):
            by_prompt.setdefault(completion.prompt_id, []).append(completion.id)
        rows = [
            {
                "id": new_id(Kind.COMPARISON),
                "project_id": self.work.project_id,
                "run_id": self.run_id,
                "round": 0,
                "purpose": Purpose.TRAIN,
                "prompt_id": prompt,
                "first_id": ids[0],
                "second_id": ids[1],
                "principle": None,
            }
            for prompt, ids in by_prompt.items()
        ]
        with self.world.sessions.begin() as session:
            return add_missing(session, Comparison, rows)

    def answer(self, number: int) -> Judged:
        unit = Unit(self.comparisons[number], Order.AB, 0)
        return Judged((PairAnswer(unit, Answer.A, 0.75),), raw_text="A", cost_usd=PRICE)

    def stored(self) -> int:
        return len(self.world.rows(Verdict, self.run_id))

    def charged(self) -> Decimal:
        return self.world.get(Stage, self.work.stage_id).judge_usd


@pytest.fixture
def desk(world: World) -> Iterator[Desk]:
    desk = Desk(world)
    yield desk
    desk.context.go.set()


class TestStoring:
    def test_answers_go_on_coming_while_some_are_being_written(self, desk: Desk) -> None:
        async def scenario() -> None:
            ledger = desk.ledger
            storing = asyncio.ensure_future(ledger.keep_storing())
            await ledger.add(desk.answer(0))
            while not desk.context.writing.is_set():
                await asyncio.sleep(0.01)
            for number in range(1, ANSWERS):
                await ledger.add(desk.answer(number))
            assert desk.stored() == 0
            desk.context.go.set()
            await _cancelled(storing)
            await ledger.store()

        asyncio.run(scenario())
        assert (desk.stored(), desk.charged()) == (ANSWERS, ANSWERS * PRICE)
        assert desk.ledger.spent == ANSWERS * PRICE

    def test_reading_waits_while_too_much_is_not_stored(self, desk: Desk) -> None:
        """What is being written is not stored yet: it counts like what waits."""
        ledger = Ledger(desk.context, desk.world.judge, spent=Decimal(0), on_stored=lambda: None, unstored_at_most=3)

        async def scenario() -> None:
            await ledger.add(desk.answer(0))
            storing = asyncio.ensure_future(ledger.store())
            while not desk.context.writing.is_set():
                await asyncio.sleep(0.01)
            await ledger.add(desk.answer(1))
            third = asyncio.ensure_future(ledger.add(desk.answer(2)))
            await asyncio.wait({third}, timeout=0.1)
            assert not third.done()
            desk.context.go.set()
            await asyncio.gather(third, storing)

        asyncio.run(scenario())
        assert desk.stored() == 3

    def test_being_cancelled_while_writing_loses_nothing_and_counts_nothing_twice(self, desk: Desk) -> None:
        async def scenario() -> None:
            await desk.ledger.add(desk.answer(0))
            storing = asyncio.ensure_future(desk.ledger.store())
            while not desk.context.writing.is_set():
                await asyncio.sleep(0.01)
            asyncio.get_running_loop().call_later(0.05, desk.context.go.set)
            await _cancelled(storing)
            await desk.ledger.store()

        asyncio.run(scenario())
        assert (desk.stored(), desk.charged(), desk.reports) == (1, PRICE, 1)

    def test_one_answer_alone_is_stored_in_time(self, desk: Desk) -> None:
        desk.context.go.set()

        async def scenario() -> None:
            storing = asyncio.ensure_future(desk.ledger.keep_storing())
            await desk.ledger.add(desk.answer(0))
            await asyncio.to_thread(wait_for, lambda: desk.stored() == 1, what="the answer")
            await _cancelled(storing)

        asyncio.run(scenario())


class TestBudget:
    def test_each_answer_is_stored_before_the_next_is_read_when_little_is_left(self, world: World) -> None:
        desk = Desk(world, budget=float(PRICE) * ledger_module.NEAR_ANSWERS / 2)
        desk.context.go.set()
        asyncio.run(desk.ledger.add(desk.answer(0)))
        assert desk.stored() == 1

    def test_answers_wait_for_others_as_long_as_much_is_left(self, world: World) -> None:
        desk = Desk(world, budget=float(PRICE) * ledger_module.NEAR_ANSWERS * 2)
        desk.context.go.set()
        asyncio.run(desk.ledger.add(desk.answer(0)))
        assert desk.stored() == 0
        asyncio.run(desk.ledger.store())
        assert desk.stored() == 1


async def _cancelled(task: asyncio.Future[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
