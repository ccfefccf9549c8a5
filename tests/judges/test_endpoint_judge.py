"""The endpoint judge against a scripted endpoint: soft labels, concurrency, money and secrets."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import aclosing
from decimal import Decimal

import pytest

from app.rlaif.comparison import Answer, InvalidReason, Order
from tests.judges.questions import POLITE, RUDE, both_orders, question
from tests.judges.running import KEY, answers, collect, running
from workers.judges.protocol import (
    JudgeBudgetReached,
    JudgedAnswer,
    JudgeError,
    JudgeMisconfigured,
    JudgeUnavailable,
)


def asking() -> list[asyncio.Task[object]]:
    """The tasks that wait for an answer of the endpoint."""
    return [task for task in asyncio.all_tasks() if "_Flight._answer" in repr(task.get_coro())]


class TestVerdict:
    @pytest.mark.parametrize("order", list(Order))
    def test_prefers_the_better_in_either_order_with_a_soft_label(self, order: Order) -> None:
        async def scenario() -> None:
            async with running() as endpoint:
                (given,) = await answers(endpoint.client(), [question(order=order)])
            weights = {"A": math.exp(1.5), "B": math.exp(-1.5), "C": 0.05}
            assert given.answer is Answer.A
            assert given.probability == pytest.approx((weights["A"] + 0.025) / sum(weights.values()))
            assert given.raw_text == ("A" if order is Order.AB else "B")

        asyncio.run(scenario())

    def test_without_log_probs_a_reply_is_a_vote(self) -> None:
        async def scenario() -> None:
            async with running() as endpoint:
                given = await answers(endpoint.client(top_logprobs=None), both_orders([(POLITE, RUDE), (RUDE, POLITE)]))
            assert {(each.comparison_id, each.probability) for each in given} == {("cmp_0", 1.0), ("cmp_1", 0.0)}

        asyncio.run(scenario())

    def test_both_orders_cancel_the_pull_of_the_first_place(self) -> None:
        async def scenario() -> None:
            async with running(first_pull=0.2) as endpoint:
                given = await answers(endpoint.client(), both_orders([(RUDE, RUDE + " Indeed.")]))
            by_order = {each.order: each for each in given}
            assert (by_order[Order.AB].answer, by_order[Order.BA].answer) == (Answer.A, Answer.B)
            assert sum(each.probability or 0.0 for each in given) / 2 == pytest.approx(0.5)

        asyncio.run(scenario())

    def test_tie_is_one_half(self) -> None:
        async def scenario() -> None:
            async with running() as endpoint:
                (given,) = await answers(endpoint.client(), [question(RUDE, RUDE + " Indeed.")])
            assert (given.answer, given.probability, given.raw_text) == (Answer.TIE, 0.5, "C")

        asyncio.run(scenario())

    def test_records_what_was_asked_and_what_it_cost(self) -> None:
        async def scenario() -> None:
            asked = question()
            async with running() as endpoint:
                (given,) = await answers(endpoint.client(), [asked])
                (call,) = endpoint.judge.calls
            tokens = len(asked.messages()[1]["content"]) // 4
            assert given.prompt_hash == call["prompt_hash"]
            assert (given.prompt_tokens, given.completion_tokens) == (tokens, 1)
            assert given.cost_usd == (tokens * Decimal("2.0") + Decimal("8.0")) / 1_000_000
            assert given.latency_s > 0

        asyncio.run(scenario())

    def test_usage_that_is_not_reported_is_estimated(self) -> None:
        async def scenario() -> None:
            async with running() as endpoint:
                (given,) = await answers(endpoint.client(), [question(POLITE + " [[fault:no-usage]]")])
            assert given.answer is Answer.A
            assert given.prompt_tokens > 100
            assert given.cost_usd > 0

        asyncio.run(scenario())


@pytest.mark.usefixtures("provider")
class TestConcurrency:
    def test_keeps_256_in_flight_and_waits_for_no_straggler(self) -> None:
        async def scenario() -> None:
            held = question(POLITE + " [[fault:held]]", comparison_id="cmp_held")
            others = [question(comparison_id=f"cmp_{number}") for number in range(600)]
            async with running() as endpoint:
                # Every call waits until 256 of them are there together; one stays after that.
                endpoint.judge.gathering = 256
                client = endpoint.client(max_concurrency=256, timeout_s=30.0)
                async with aclosing(client), aclosing(client.judge([held, *others])) as given:
                    seen = [(await anext(given)).verdicts()[0].comparison_id for _ in range(600)]
                    assert "cmp_held" not in seen
                    endpoint.judge.release.set()
                    assert (await anext(given)).verdicts()[0].comparison_id == "cmp_held"
                assert endpoint.judge.most_in_flight == 256

        asyncio.run(scenario())

    def test_closing_early_cancels_what_is_in_flight(self) -> None:
        async def scenario() -> None:
            held = [question(f"{POLITE} [[fault:held]]", comparison_id=f"cmp_{number}") for number in range(20)]
            async with running() as endpoint:
                client = endpoint.client(max_concurrency=4)
                async with aclosing(client), aclosing(client.judge([question(), *held])) as given:
                    await anext(given)
                    assert len(asking()) == 3
                assert not asking()
                assert len(endpoint.judge.calls) <= 4

        asyncio.run(scenario())


@pytest.mark.usefixtures("provider")
class TestMoney:
    def test_stops_calling_at_the_budget_and_answers_what_is_in_flight(self) -> None:
        async def scenario() -> None:
            allowed = 6

            def may_spend() -> bool:
                nonlocal allowed
                allowed -= 1
                return allowed >= 0

            async with running() as endpoint:
                client = endpoint.client(may_spend=may_spend, max_concurrency=4)
                seen: list[JudgedAnswer] = []
                with pytest.raises(JudgeBudgetReached, match="budget"):
                    await collect(client, both_orders([(POLITE, RUDE)] * 10), seen)
                assert len(seen) == len(endpoint.judge.calls) == 6
                assert all(each.answer is not Answer.INVALID for each in seen)

        asyncio.run(scenario())


@pytest.mark.usefixtures("provider")
class TestMisconfiguration:
    @pytest.mark.parametrize("fault", ["401", "402", "403", "404", "redirect"])
    def test_raises_and_stores_no_verdict(self, fault: str) -> None:
        async def scenario() -> None:
            async with running() as endpoint:
                with pytest.raises(JudgeMisconfigured, match=r"127\.0\.0\.1"):
                    await answers(endpoint.client(), [question(POLITE + f" [[fault:{fault}]]")])
                assert len(endpoint.judge.calls) == 1

        asyncio.run(scenario())

    def test_an_empty_account_says_what_to_do(self) -> None:
        async def scenario() -> None:
            async with running() as endpoint:
                with pytest.raises(JudgeMisconfigured, match=r"HTTP 402.*pay at the provider"):
                    await answers(endpoint.client(), [question(POLITE + " [[fault:402]]")])

        asyncio.run(scenario())

    def test_wrong_key_is_said_without_the_key(self, caplog: pytest.LogCaptureFixture) -> None:
        async def scenario() -> JudgeError:
            async with running() as endpoint:
                with pytest.raises(JudgeMisconfigured) as raised:
                    await answers(endpoint.client(api_key="wrong-canary"), [question()])
            return raised.value

        with caplog.at_level(logging.DEBUG):
            error = asyncio.run(scenario())
        assert "401" in str(error)
        assert "wrong-canary" not in str(error) + caplog.text


@pytest.mark.usefixtures("provider")
class TestSecrets:
    def test_key_that_an_endpoint_echoes_is_not_stored(self, caplog: pytest.LogCaptureFixture) -> None:
        async def scenario() -> None:
            async with running() as endpoint:
                (given,) = await answers(endpoint.client(), [question(POLITE + " [[fault:echo-key]]")])
            assert given.invalid_reason is InvalidReason.SERVER
            assert "[redacted]" in (given.raw_text or "")
            assert KEY not in repr(given)

        with caplog.at_level(logging.DEBUG):
            asyncio.run(scenario())
        assert KEY not in caplog.text


@pytest.mark.usefixtures("provider")
class TestOutage:
    def test_endpoint_that_is_gone_is_unavailable_and_not_invalid(self) -> None:
        async def scenario() -> None:
            async with running() as endpoint:
                client = endpoint.client(max_attempts=2)
            with pytest.raises(JudgeUnavailable, match="out of reach") as raised:
                await answers(client, both_orders([(POLITE, RUDE)] * 3))
            assert raised.value.retry_after_s is None

        asyncio.run(scenario())

    def test_opens_after_so_many_gateway_errors_in_a_row(self) -> None:
        async def scenario() -> None:
            async with running() as endpoint:
                endpoint.judge.script.faults.extend(["503"] * 100)
                client = endpoint.client(max_attempts=20, outage_after=6, max_concurrency=3)
                with pytest.raises(JudgeUnavailable, match="503"):
                    await answers(client, both_orders([(POLITE, RUDE)] * 10))
                assert 6 <= len(endpoint.judge.calls) <= 8

        asyncio.run(scenario())

    def test_an_outage_lasts_as_long_as_the_endpoint_says(self) -> None:
        async def scenario() -> None:
            async with running() as endpoint:
                endpoint.judge.script.faults.extend(["503-seconds"])
                client = endpoint.client(max_attempts=20, outage_after=1)
                with pytest.raises(JudgeUnavailable) as raised:
                    await answers(client, [question(POLITE)])
            assert raised.value.retry_after_s == 15

        asyncio.run(scenario())

    def test_a_question_that_fails_alone_opens_nothing(self) -> None:
        async def scenario() -> None:
            async with running() as endpoint:
                asked = [
                    question(POLITE + " [[fault:503]]", comparison_id="cmp_bad"),
                    *both_orders([(POLITE, RUDE)] * 8),
                ]
                given = await answers(endpoint.client(max_attempts=3, outage_after=3, max_concurrency=2), asked)
            assert [each.comparison_id for each in given if each.answer is Answer.INVALID] == ["cmp_bad"]

        asyncio.run(scenario())

    def test_being_sent_away_for_long_is_an_outage_of_that_length(self) -> None:
        async def scenario() -> None:
            async with running() as endpoint:
                with pytest.raises(JudgeUnavailable) as raised:
                    await answers(endpoint.client(), [question(POLITE + " [[fault:429-long]]")])
            assert raised.value.retry_after_s == 7200

        asyncio.run(scenario())
