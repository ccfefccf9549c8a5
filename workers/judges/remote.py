"""The judge behind a provider's endpoint: many questions in flight, each retried within its own budget.

A refusal or a cut reply is final at once: at temperature 0 asking again buys the same reply. After one that cannot be
read the judge is told so, once. A failure of the server or the line is INVALID only after its retries.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from functools import partial

from app.addresses import Network
from app.rlaif.comparison import InvalidReason
from app.rlaif.judges import AnthropicJudge, OpenAIJudge
from app.rlaif.prices import FREE, PriceTable, Tariff, tariff_of
from app.rlaif.questions import Question, asked_again, unreadable
from app.rlaif.rendering import ChatMessages
from workers.judges.cache import Prepared, ReplyCache, uncached
from workers.judges.dialect import Dialect, Exchanged, Usage, room
from workers.judges.endpoint import CallFailed, Endpoint
from workers.judges.gate import Gate, unreachable
from workers.judges.in_flight import in_flight
from workers.judges.limits import Limits, Stated, alone
from workers.judges.protocol import JudgeBudgetReached, Judged, JudgeError, JudgeMisconfigured, JudgeUnavailable

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
MAX_RAW_TEXT = 20_000
_CHARACTERS_PER_TOKEN = 4


@dataclass(slots=True)
class _Calls:
    """The calls spent on one question so far, and the time left for them; waiting for one's turn takes none of it.

    `tokens` is what one call will probably take. A call that was refused (429) while others were answered is no
    attempt: `answers` is how many had been at the last refusal, `counted` the attempts.
    """

    asked: Prepared
    messages: ChatMessages
    tokens: float
    left_s: float
    made: int = 0
    counted: int = 0
    answers: int = -1
    latency_s: float = 0.0
    failure: CallFailed = field(init=False)


class EndpointJudge:
    """`may_spend` is asked before every call; once it says no, nothing more is called."""

    def __init__(
        self,
        spec: OpenAIJudge | AnthropicJudge,
        dialect: Dialect,
        *,
        api_key: str | None,
        may_spend: Callable[[], bool],
        private_networks: Sequence[Network],
        tariff: Tariff | None = None,
        limits: Limits | None = None,
        cache: ReplyCache | None = None,
    ) -> None:
        """Without `limits` that it shares with others, the judge goes by what its own calls meet."""
        self._cache = cache
        self._spec = spec
        self._tariff = tariff or tariff_of(spec, PriceTable()) or FREE
        self._limits = limits or alone(Stated.of(spec))
        self._may_spend = may_spend
        self._dialect = dialect
        self._endpoint = Endpoint(
            spec.base_url,
            dialect,
            api_key=api_key,
            connections=spec.max_concurrency,
            private_networks=private_networks,
        )

    async def judge(self, questions: Iterable[Question]) -> AsyncGenerator[Judged, None]:
        """Raises JudgeMisconfigured, JudgeUnavailable or JudgeBudgetReached, after what is in flight is answered."""
        async with self._limits as gate:
            prepared = uncached(questions) if self._cache is None else self._cache.prepared(questions)
            answers = in_flight(prepared, partial(self._answer, gate=gate), limit=self._spec.max_concurrency)
            with closing(prepared):
                async with aclosing(answers):
                    async for judged in answers:
                        yield judged

    async def aclose(self) -> None:
        await self._endpoint.aclose()

    async def _answer(self, question: Prepared, *, gate: Gate) -> Judged:
        if (known := await question.recalled()) is not None:
            return known
        try:
            return question.kept(await self._ask(question, gate=gate))
        finally:
            question.end()

    async def _ask(self, prepared: Prepared, *, gate: Gate) -> Judged:
        question = prepared.question
        calls = self._calls(prepared, prepared.messages, left_s=self._spec.question_timeout_s)
        while (chat := await self._call(calls, gate)) is None:
            failure = calls.failure
            delay = 0.0 if failure.retry_after_s is not None else _backoff_s(calls.made)
            calls.left_s -= delay
            exhausted = calls.counted >= self._spec.max_attempts or calls.left_s <= 0
            if not failure.transient or exhausted:
                return self._given_up(question, calls, gate)
            if delay:
                await gate.wait(delay)
        judged = self._read(question, calls, chat)
        if self._spec.repairs and unreadable(judged.answers):
            return await self._ask_again(judged, calls, gate)
        return judged

    async def _ask_again(self, judged: Judged, calls: _Calls, gate: Gate) -> Judged:
        """One more call after a reply that could not be read. What was paid for the first is kept whatever becomes of
        the second: an error that ends the work has closed the gate, and the next question meets it there.

        Unless the second is heard, there is no reply to keep for others: they may hear it."""
        question, reply = calls.asked.question, judged.reply
        unheard = replace(judged, reply=None)
        if reply is None or not self._may_spend():
            return unheard
        again = self._calls(calls.asked, asked_again(question, calls.messages, reply), left_s=calls.left_s)
        try:
            chat = await self._call(again, gate)
        except JudgeError:
            return unheard
        if chat is None:
            return replace(unheard, attempts=calls.made + again.made)
        return _together(judged, self._read(question, again, chat))

    def _calls(self, asked: Prepared, messages: ChatMessages, *, left_s: float) -> _Calls:
        if self._spec.tokens_per_minute is None:
            return _Calls(asked, messages, 0.0, left_s)
        longest = room(self._spec.max_tokens, asked.question.format)
        return _Calls(asked, messages, _estimated(messages, "").prompt_tokens + longest, left_s)

    async def _call(self, calls: _Calls, gate: Gate) -> Exchanged | None:
        """One call; None when it failed, and `calls.failure` says how."""
        began_at = await gate.enter(calls.tokens)
        spare_tokens = 0.0
        try:
            if not self._may_spend():
                raise gate.close(
                    JudgeBudgetReached("the run's budget for judging is reached: raise it and resume the run")
                )
            calls.made += 1
            timeout_s = min(self._spec.timeout_s, max(calls.left_s, 0.001))
            payload = self._dialect.payload(calls.messages, calls.asked.question.format)
            outcome = await self._endpoint.call(payload, timeout_s=timeout_s)
            calls.latency_s = _now() - began_at
            calls.left_s -= calls.latency_s
            if isinstance(outcome, CallFailed):
                calls.failure = outcome
                self._tell(gate, calls, began_at=began_at)
                return None
            gate.reached()
            if calls.tokens and outcome.usage is not None:
                spare_tokens = calls.tokens - outcome.usage.prompt_tokens - outcome.usage.completion_tokens
            return outcome
        except JudgeMisconfigured as error:
            raise gate.close(error) from error
        finally:
            gate.leave(spare_tokens=spare_tokens)

    def _tell(self, gate: Gate, calls: _Calls, *, began_at: float) -> None:
        """What one call's failure means for all the others, and whether it was an attempt."""
        failure = calls.failure
        gate.failed()
        if failure.retry_after_s is not None:
            self._hold(gate, failure, failure.retry_after_s)
        if not failure.refused:
            calls.counted += 1
        else:
            calls.counted += gate.answers in (calls.answers, 0) or calls.answers < 0
            calls.answers = gate.answers
            gate.refused(failure.detail, began_at=began_at)
            return
        if failure.strained:
            gate.strained(began_at=began_at)
        if failure.down:
            gate.missed(failure.detail, retry_after_s=failure.retry_after_s)
        elif failure.connected and failure.reason is not InvalidReason.TIMEOUT:
            gate.reached()

    def _hold(self, gate: Gate, failure: CallFailed, seconds: float) -> None:
        gate.hold(seconds)
        if seconds >= self._spec.question_timeout_s:
            message = f"the judge endpoint asks to be left alone for {seconds:g} s: {failure.detail}"
            raise gate.close(JudgeUnavailable(message, retry_after_s=seconds))

    def _given_up(self, question: Question, calls: _Calls, gate: Gate) -> Judged:
        failure = calls.failure
        if not failure.connected:
            # Nobody heard the question, so there is no verdict to call invalid.
            raise gate.outage(unreachable(failure.detail, retry_after_s=failure.retry_after_s))
        return self._recorded(Judged(question.unanswered(failure.reason)), calls, raw_text=failure.detail)

    def _read(self, question: Question, calls: _Calls, chat: Exchanged) -> Judged:
        usage = chat.usage or _estimated(calls.messages, chat.text)
        reply = replace(chat.reply, text=self._endpoint.redacted(chat.reply.text))
        judged = Judged(
            question.read(reply),
            reply=reply,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cost_usd=self._tariff.cost(usage.prompt_tokens, usage.completion_tokens, cached_tokens=usage.cached_tokens),
        )
        return self._recorded(judged, calls, raw_text=self._endpoint.redacted(chat.text))

    def _recorded(self, judged: Judged, calls: _Calls, *, raw_text: str) -> Judged:
        return replace(
            judged,
            raw_text=raw_text[:MAX_RAW_TEXT],
            prompt_hash=calls.asked.hash,
            latency_s=calls.latency_s,
            attempts=calls.made,
        )


def _together(first: Judged, second: Judged) -> Judged:
    """What the second reply says; both are recorded, and what they took is added up."""
    return replace(
        second,
        raw_text=f"{first.raw_text}\n\n[asked again]\n\n{second.raw_text}"[:MAX_RAW_TEXT],
        prompt_tokens=first.prompt_tokens + second.prompt_tokens,
        completion_tokens=first.completion_tokens + second.completion_tokens,
        cost_usd=first.cost_usd + second.cost_usd,
        attempts=first.attempts + second.attempts,
    )


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
