"""F14: whatever an endpoint does is classified, retried within its budget, and stored as INVALID with its reason."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.rlaif.comparison import Answer, InvalidReason
from tests.judges.questions import POLITE, RUDE, both_orders, question
from tests.judges.running import answers, running
from workers.judges.endpoint import MAX_REPLY_BYTES, retry_after
from workers.judges.protocol import JudgedAnswer

TRANSIENT = {
    "hang": InvalidReason.TIMEOUT,
    "drip": InvalidReason.TIMEOUT,
    "429": InvalidReason.SERVER,
    "429-seconds": InvalidReason.SERVER,
    "429-date": InvalidReason.SERVER,
    "500": InvalidReason.SERVER,
    "503": InvalidReason.SERVER,
    "529": InvalidReason.SERVER,
    "garbage": InvalidReason.SERVER,
    "cut": InvalidReason.SERVER,
    "schema": InvalidReason.SERVER,
    "huge": InvalidReason.SERVER,
    "reset": InvalidReason.SERVER,
}
FINAL = {
    "400": InvalidReason.SERVER,
    "400-filter": InvalidReason.REFUSAL,
    "400-policy": InvalidReason.REFUSAL,
    "400-azure": InvalidReason.REFUSAL,
    "400-context": InvalidReason.TRUNCATED,
    "400-context-words": InvalidReason.TRUNCATED,
    "refusal": InvalidReason.REFUSAL,
    "refusal-field": InvalidReason.REFUSAL,
    "filtered": InvalidReason.REFUSAL,
    "length": InvalidReason.TRUNCATED,
}


def judged(text: str, timeout_s: float = 0.5, **changes: Any) -> tuple[JudgedAnswer, int]:
    """The verdict on a first response that carries a fault, and how many calls the endpoint saw."""

    async def scenario() -> tuple[JudgedAnswer, int]:
        async with running() as endpoint:
            (given,) = await answers(endpoint.client(timeout_s=timeout_s, **changes), [question(text)])
            return given, len(endpoint.judge.calls)

    return asyncio.run(scenario())


@pytest.mark.usefixtures("provider")
class TestFaults:
    @pytest.mark.parametrize("fault", TRANSIENT)
    def test_transient_fault_is_retried_and_then_invalid_with_its_reason(self, fault: str) -> None:
        given, calls = judged(f"{POLITE} [[fault:{fault}]]")
        assert (given.answer, given.probability) == (Answer.INVALID, None)
        assert given.invalid_reason is TRANSIENT[fault]
        assert given.attempts == calls == 2
        assert given.raw_text

    @pytest.mark.parametrize("fault", TRANSIENT)
    def test_transient_fault_that_passes_leaves_a_good_verdict(self, fault: str) -> None:
        given, calls = judged(f"{POLITE} [[fault:{fault}:1]]")
        assert given.answer is Answer.A
        assert given.attempts == calls == 2

    @pytest.mark.parametrize("fault", FINAL)
    def test_what_is_said_of_this_question_is_final_at_once(self, fault: str) -> None:
        given, calls = judged(f"{POLITE} [[fault:{fault}]]")
        assert (given.answer, given.probability) == (Answer.INVALID, None)
        assert given.invalid_reason is FINAL[fault]
        assert given.attempts == calls == 1

    def test_invalid_verdict_of_a_paid_reply_has_its_cost(self) -> None:
        given, _ = judged(f"{POLITE} [[fault:refusal]]")
        assert given.cost_usd > 0
        assert given.raw_text == "I'm sorry, but I can't compare these."

    def test_reply_without_an_end_is_read_only_to_the_cap(self) -> None:
        given, _ = judged(f"{POLITE} [[fault:endless]]", timeout_s=10.0)
        assert given.invalid_reason is InvalidReason.SERVER
        assert str(MAX_REPLY_BYTES) in (given.raw_text or "")

    def test_faults_of_some_questions_leave_the_others_alone(self) -> None:
        async def scenario() -> None:
            asked = list(both_orders([(POLITE, RUDE)] * 20))
            asked += [question(f"{POLITE} [[fault:{fault}]]", comparison_id=fault) for fault in (*TRANSIENT, *FINAL)]
            async with running() as endpoint:
                given = await answers(endpoint.client(timeout_s=0.5, max_concurrency=64), asked)
            invalid = {each.comparison_id: each.invalid_reason for each in given if each.answer is Answer.INVALID}
            assert invalid == TRANSIENT | FINAL
            assert all(each.answer is Answer.A for each in given if each.comparison_id not in invalid)

        asyncio.run(scenario())


@pytest.mark.usefixtures("provider")
class TestRetries:
    def test_retry_after_is_waited_out_by_every_question(self) -> None:
        async def scenario() -> None:
            async with running() as endpoint:
                endpoint.judge.script.faults.append("429-seconds")
                client = endpoint.client(max_concurrency=2)
                given = await answers(client, both_orders([(POLITE, RUDE)] * 3))
                at = [datetime.fromisoformat(call["at"]) for call in endpoint.judge.calls]
            assert all(each.answer is Answer.A for each in given)
            # Two calls go out together; whatever comes after them waits for the second that the endpoint asked for.
            assert (at[-1] - at[0]).total_seconds() >= 1.0
            assert sum(1 for moment in at if (moment - at[0]).total_seconds() < 0.9) <= 4

        asyncio.run(scenario())

    def test_a_questions_whole_time_is_bounded(self) -> None:
        started = time.monotonic()
        given, _ = judged(f"{POLITE} [[fault:hang]]", max_attempts=20, timeout_s=0.4, question_timeout_s=1.0)
        assert given.invalid_reason is InvalidReason.TIMEOUT
        assert time.monotonic() - started < 5.0


class TestRetryAfter:
    NOW = datetime(2026, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            (None, None),
            ("7", 7.0),
            (" 0 ", 0.0),
            ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0),
            ("Wed, 31 Dec 2025 23:00:00 GMT", 0.0),
            ("soon", None),
            ("-5", None),
            ("9" * 400, 999_999_999.0),
        ],
    )
    def test_reads_seconds_and_dates(self, header: str | None, seconds: float | None) -> None:
        assert retry_after(header, now=self.NOW) == seconds

    def test_reads_the_date_that_python_writes(self) -> None:
        date = (self.NOW + timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
        assert retry_after(date, now=self.NOW) == 3600.0
