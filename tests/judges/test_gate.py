"""The gate of one process: whose turn it is, at what pace, and the error that ends the waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from workers.judges.gate import REFUSING_S, Allowance, Gate
from workers.judges.protocol import JudgeMisconfigured, JudgeUnavailable


def at_gate(scenario: Callable[[Gate], Awaitable[None]], *, outage_after: int = 3) -> None:
    async def main() -> None:
        await scenario(Gate(outage_after=outage_after))

    asyncio.run(main())


async def passed(gate: Gate, calls: int, seconds: float) -> int:
    """How many of so many calls are let in within a time; each leaves at once."""
    count = 0

    async def call() -> None:
        nonlocal count
        await gate.enter()
        count += 1
        gate.leave()

    tasks = [asyncio.create_task(call()) for _ in range(calls)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return count


class TestTurns:
    def test_without_limits_everybody_passes_at_once(self) -> None:
        async def scenario(gate: Gate) -> None:
            assert await passed(gate, 500, 0.0) == 500

        at_gate(scenario)

    def test_a_rate_is_kept(self) -> None:
        async def scenario(gate: Gate) -> None:
            gate.allow(Allowance(requests=50.0), hold_s=0.0, eased=False)
            assert 20 <= await passed(gate, 500, 0.5) <= 31

        at_gate(scenario)

    def test_no_more_are_in_flight_than_allowed_and_the_next_follows_who_leaves(self) -> None:
        async def scenario(gate: Gate) -> None:
            gate.allow(Allowance(in_flight=2.0), hold_s=0.0, eased=False)
            tasks = [asyncio.create_task(gate.enter()) for _ in range(3)]
            await asyncio.sleep(0)
            assert [task.done() for task in tasks] == [True, True, False]
            gate.leave()
            await tasks[2]
            assert gate.in_flight == 2

        at_gate(scenario)

    def test_who_is_cancelled_while_waiting_takes_no_place(self) -> None:
        async def scenario(gate: Gate) -> None:
            gate.allow(Allowance(in_flight=1.0), hold_s=0.0, eased=False)
            await gate.enter()
            waiting = asyncio.create_task(gate.enter())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            gate.leave()
            await gate.enter()
            assert gate.in_flight == 1

        at_gate(scenario)

    def test_tokens_that_were_not_taken_are_given_back(self) -> None:
        async def scenario(gate: Gate) -> None:
            gate.allow(Allowance(tokens=1000.0), hold_s=0.0, eased=False)
            await gate.enter(100.0)
            gate.leave(spare_tokens=90.0)
            async with asyncio.timeout(0.05):
                await gate.enter(80.0)

        at_gate(scenario)


class TestHolds:
    def test_nobody_passes_before_the_end_and_then_not_all_at_once(self) -> None:
        async def scenario(gate: Gate) -> None:
            gate.allow(Allowance(requests=100.0), hold_s=0.0, eased=False)
            gate.hold(0.3)
            assert await passed(gate, 50, 0.25) == 0
            assert 0 < await passed(gate, 50, 0.15) <= 15

        at_gate(scenario)

    def test_are_told_to_the_others(self) -> None:
        async def scenario(gate: Gate) -> None:
            gate.hold(2.0)
            gate.hold(1.0)
            assert gate.news.is_set()
            assert gate.take_tally().held_s == 2.0

        at_gate(scenario)


class TestRefusals:
    def test_the_first_slows_down_to_what_was_borne(self) -> None:
        async def scenario(gate: Gate) -> None:
            began = [await gate.enter() for _ in range(50)]
            for moment in began[40:]:
                gate.refused("HTTP 429", began_at=moment)
            assert gate.tally.too_fast
            assert 35 <= await passed(gate, 500, 1.0) <= 60

        at_gate(scenario, outage_after=100)

    def test_of_calls_that_were_made_before_the_others_slowed_down_say_nothing_new(self) -> None:
        async def scenario(gate: Gate) -> None:
            began = await gate.enter()
            gate.allow(Allowance(requests=10.0), hold_s=0.0, eased=True)
            gate.refused("HTTP 429", began_at=began - 0.001)
            assert not gate.tally.too_fast

        at_gate(scenario)

    def test_of_everything_for_a_while_is_an_outage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("workers.judges.gate.REFUSING_S", 0.05)

        async def scenario(gate: Gate) -> None:
            began = [await gate.enter() for _ in range(11)]
            for moment in began[:10]:
                gate.refused("HTTP 429", began_at=moment)
            await asyncio.sleep(0.06)
            with pytest.raises(JudgeUnavailable, match="refuses every call"):
                gate.refused("HTTP 429", began_at=began[10])

        assert REFUSING_S > 1
        at_gate(scenario)


class TestOutages:
    def test_so_many_misses_in_a_row_close_it_for_those_who_wait(self) -> None:
        async def scenario(gate: Gate) -> None:
            gate.hold(60.0)
            waiting = asyncio.create_task(gate.enter())
            await asyncio.sleep(0)
            gate.missed("no connection", retry_after_s=None)
            gate.reached()
            for _ in range(2):
                gate.missed("no connection", retry_after_s=None)
            assert not waiting.done()
            with pytest.raises(JudgeUnavailable):
                gate.missed("no connection", retry_after_s=None)
            with pytest.raises(JudgeUnavailable, match="no connection"):
                await waiting
            assert gate.take_tally().down is not None

        at_gate(scenario)

    def test_one_is_enough_for_who_probes(self) -> None:
        async def scenario(gate: Gate) -> None:
            gate.probing = True
            with pytest.raises(JudgeUnavailable):
                gate.missed("no connection", retry_after_s=None)

        at_gate(scenario)

    def test_the_first_error_stays(self) -> None:
        async def scenario(gate: Gate) -> None:
            gate.close(JudgeMisconfigured("first"))
            gate.close(JudgeUnavailable("second"))
            with pytest.raises(JudgeMisconfigured, match="first"):
                await gate.enter()
            with pytest.raises(JudgeMisconfigured, match="first"):
                await gate.wait(60.0)

        at_gate(scenario)
