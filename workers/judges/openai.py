"""The judge behind an OpenAI-compatible endpoint: many questions in flight, each retried within its own budget.

A reply that says nothing plainly (parse, refusal, truncated) is final at once: at temperature 0 asking again buys the
same reply. A failure of the server or the line is INVALID only after its retries.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from typing import Any

from app.addresses import Network
from app.rlaif.judges import OpenAIJudge
from app.rlaif.questions import Question
from app.rlaif.rendering import ChatMessages, prompt_hash
from workers.judges.chat_reply import ChatReply, Usage
from workers.judges.endpoint import CallFailed, Endpoint
from workers.judges.gate import Gate, unreachable
from workers.judges.in_flight import in_flight
from workers.judges.protocol import JudgeBudgetReached, Judged, JudgeMisconfigured, JudgeUnavailable

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
MAX_RAW_TEXT = 20_000
_CHARACTERS_PER_TOKEN = 4


@dataclass(slots=True)
class _Calls:
    """The calls spent on one question so far, and the time by which they must end."""

    messages: ChatMessages
    deadline: float
    made: int = 0
    latency_s: float = 0.0
    failure: CallFailed = field(init=False)


class EndpointJudge:
    """`may_spend` is asked before every call; once it says no, nothing more is called."""

    def __init__(
        self,
        spec: OpenAIJudge,
        *,
        api_key: str | None,
        may_spend: Callable[[], bool],
        private_networks: Sequence[Network],
    ) -> None:
        self._spec = spec
        self._may_spend = may_spend
        self._endpoint = Endpoint(
            spec.base_url,
            api_key=api_key,
            connections=spec.max_concurrency,
            private_networks=private_networks,
        )

    def judge(self, questions: Iterable[Question]) -> AsyncGenerator[Judged, None]:
        """Raises JudgeMisconfigured, JudgeUnavailable or JudgeBudgetReached, after what is in flight is answered."""
        gate = Gate(outage_after=self._spec.outage_after)
        return in_flight(questions, partial(self._ask, gate=gate), limit=self._spec.max_concurrency)

    async def aclose(self) -> None:
        await self._endpoint.aclose()

    async def _ask(self, question: Question, *, gate: Gate) -> Judged:
        await gate.wait()
        calls = _Calls(question.messages(), deadline=_now() + self._spec.question_timeout_s)
        while (reply := await self._call(calls, gate)) is None:
            failure = calls.failure
            delay = failure.retry_after_s if failure.retry_after_s is not None else _backoff_s(calls.made)
            exhausted = calls.made >= self._spec.max_attempts or _now() + delay >= calls.deadline
            if not failure.transient or exhausted:
                return self._given_up(question, calls, gate)
            await gate.wait(delay)
        return self._read(question, calls, reply)

    async def _call(self, calls: _Calls, gate: Gate) -> ChatReply | None:
        """One call; None when it failed, and `calls.failure` says how."""
        if not self._may_spend():
            raise gate.close(JudgeBudgetReached("the run's budget for judging is reached: raise it and resume the run"))
        calls.made += 1
        started = _now()
        left_s = max(calls.deadline - started, 0.001)
        try:
            outcome = await self._endpoint.call(
                self._payload(calls.messages), timeout_s=min(self._spec.timeout_s, left_s)
            )
        except JudgeMisconfigured as error:
            raise gate.close(error) from error
        calls.latency_s = _now() - started
        if isinstance(outcome, CallFailed):
            calls.failure = outcome
            self._tell(gate, outcome)
            return None
        gate.reached()
        return outcome

    def _tell(self, gate: Gate, failure: CallFailed) -> None:
        """What one call's failure means for all the others."""
        if failure.down:
            gate.missed(failure.detail, retry_after_s=failure.retry_after_s)
        else:
            gate.reached()
        if failure.retry_after_s is None:
            return
        if failure.retry_after_s >= self._spec.question_timeout_s:
            message = f"the judge endpoint asks to be left alone for {failure.retry_after_s:g} s: {failure.detail}"
            raise gate.close(JudgeUnavailable(message, retry_after_s=failure.retry_after_s))
        gate.hold(failure.retry_after_s)

    def _given_up(self, question: Question, calls: _Calls, gate: Gate) -> Judged:
        failure = calls.failure
        if not failure.connected:
            # Nobody heard the question, so there is no verdict to call invalid.
            raise gate.close(unreachable(failure.detail, retry_after_s=failure.retry_after_s))
        return self._recorded(Judged(question.unanswered(failure.reason)), calls, raw_text=failure.detail)

    def _read(self, question: Question, calls: _Calls, chat: ChatReply) -> Judged:
        usage = chat.usage or _estimated(calls.messages, chat.text)
        reply = chat.reply()
        judged = Judged(
            question.read(reply),
            reply=reply,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cost_usd=self._cost(usage),
        )
        return self._recorded(judged, calls, raw_text=self._endpoint.redacted(chat.text))

    def _recorded(self, judged: Judged, calls: _Calls, *, raw_text: str) -> Judged:
        return replace(
            judged,
            raw_text=raw_text[:MAX_RAW_TEXT],
            prompt_hash=prompt_hash(calls.messages),
            latency_s=calls.latency_s,
            attempts=calls.made,
        )

    def _payload(self, messages: ChatMessages) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "model": self._spec.model,
            "messages": list(messages),
            "temperature": self._spec.temperature,
            self._spec.token_limit_field: self._spec.max_tokens,
        }
        if self._spec.top_logprobs is not None:
            payload |= {"logprobs": True, "top_logprobs": self._spec.top_logprobs}
        return payload

    def _cost(self, usage: Usage) -> Decimal:
        dollars = usage.prompt_tokens * Decimal(
            str(self._spec.usd_per_million_input_tokens)
        ) + usage.completion_tokens * Decimal(str(self._spec.usd_per_million_output_tokens))
        return dollars / 1_000_000


def _backoff_s(made: int) -> float:
    longest = min(FIRST_BACKOFF_S * 2 ** (made - 1), LONGEST_BACKOFF_S)
    return random.uniform(longest / 2, longest)


def _estimated(messages: ChatMessages, text: str) -> Usage:
    """Tokens of an exchange whose endpoint does not report them, so that a budget still bites."""
    characters = sum(len(message["content"]) for message in messages)
    return Usage(
        prompt_tokens=math.ceil(characters / _CHARACTERS_PER_TOKEN),
        completion_tokens=math.ceil(len(text) / _CHARACTERS_PER_TOKEN),
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
