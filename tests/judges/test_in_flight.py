"""The stream under every endpoint judge: bounded, without a barrier, and without loss when asking fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest

from workers.judges.in_flight import in_flight


class Outage(Exception):
    pass


class TestInFlight:
    def test_asks_no_more_than_the_limit_at_once_and_no_less(self) -> None:
        asking, most = 0, 0

        async def ask(number: int) -> int:
            nonlocal asking, most
            asking += 1
            most = max(most, asking)
            await asyncio.sleep(0)
            asking -= 1
            return number

        async def scenario() -> None:
            assert sorted([each async for each in in_flight(range(100), ask, limit=7)]) == list(range(100))

        asyncio.run(scenario())
        assert most == 7

    def test_a_slow_question_holds_up_nobody(self) -> None:
        async def scenario() -> None:
            release = asyncio.Event()

            async def ask(number: int) -> int:
                if number == 0:
                    await release.wait()
                return number

            async with aclosing(in_flight(range(50), ask, limit=2)) as answers:
                assert [await anext(answers) for _ in range(49)] == list(range(1, 50))
                release.set()
                assert await anext(answers) == 0

        asyncio.run(scenario())

    def test_failure_is_raised_after_what_was_in_flight_is_answered(self) -> None:
        taken: list[int] = []

        def questions() -> Iterator[int]:
            for number in range(100):
                taken.append(number)
                yield number

        async def scenario() -> None:
            failed = asyncio.Event()

            async def ask(number: int) -> int:
                if number == 1:
                    failed.set()
                    raise Outage
                await failed.wait()
                await asyncio.sleep(0)
                return number

            answered = []
            with pytest.raises(Outage):  # noqa: PT012 - what was answered before is the point
                async for each in in_flight(questions(), ask, limit=4):
                    answered.append(each)
            assert sorted(answered) == [0, 2, 3]

        asyncio.run(scenario())
        assert taken == [0, 1, 2, 3]

    def test_questions_that_fail_lose_nothing_in_flight(self) -> None:
        """They are read from a database, and what is in flight is paid for."""

        def questions() -> Iterator[int]:
            yield from range(3)
            raise Outage

        async def scenario() -> None:
            release = asyncio.Event()

            async def ask(number: int) -> int:
                if number:
                    await release.wait()
                return number

            async with aclosing(in_flight(questions(), ask, limit=3)) as answers:
                assert await anext(answers) == 0
                release.set()
                assert {await anext(answers), await anext(answers)} == {1, 2}
                with pytest.raises(Outage):
                    await anext(answers)

        asyncio.run(scenario())

    def test_closing_cancels_what_is_in_flight(self) -> None:
        asked: list[int] = []
        cancelled: list[int] = []

        async def ask(number: int) -> int:
            asked.append(number)
            try:
                await asyncio.sleep(60 if number else 0)
            except asyncio.CancelledError:
                cancelled.append(number)
                raise
            return number

        async def scenario() -> None:
            async with aclosing(in_flight(range(3), ask, limit=3)) as answers:
                assert await anext(answers) == 0

        asyncio.run(scenario())
        assert (asked, sorted(cancelled)) == ([0, 1, 2], [1, 2])
