"""Puts comparisons to a judge and stores the verdicts as they come, so that a kill loses only the calls in flight.

Only questions without a stored verdict are asked. An INVALID verdict is a verdict: it is missing, not forgotten.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter
from sqlalchemy.exc import InterfaceError, OperationalError

from app.db.ids import Kind, new_id
from app.errors import ServiceError
from app.repositories.run_inputs import JudgeRow
from app.repositories.verdicts import Spending, add_spending, add_verdicts, answered_units, judge_usd_spent
from app.rlaif.comparison import Order
from app.rlaif.judges import JudgeSpec, OpenAIJudge
from app.rlaif.messages import Message, Role
from app.rlaif.rubric import Rubric
from app.rlaif.seeds import derive_seed
from app.services.judges import require_address
from app.services.secrets import reveal
from workers.judges.build import build_judge
from workers.judges.protocol import (
    Judge,
    JudgeBudgetReached,
    JudgedAnswer,
    JudgeMisconfigured,
    JudgeUnavailable,
    Question,
)
from workers.stages.compare import Compared
from workers.stages.contract import JUDGE_UNAVAILABLE, BudgetReached, GiveBack, StageContext, StageRefused
from workers.stages.inputs import criteria_for, stopped
from workers.stages.weights import model_directory

STORED_AT_ONCE = 50
STORED_WITHIN_S = 0.5
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Docket:
    """What is put to one judge: each comparison in both orders, `repeats` times."""

    judge: JudgeRow
    rubric: Rubric
    comparisons: Sequence[Compared]
    repeats: int = 1

    @property
    def size(self) -> int:
        return len(self.comparisons) * len(Order) * self.repeats


def ask(context: StageContext, docket: Docket) -> None:
    """Ask what is missing. Raises GiveBack, BudgetReached, StageRefused and LeaseLost."""
    with context.read() as session:
        answered = answered_units(
            session,
            context.work.run_id,
            judge_id=docket.judge.id,
            comparison_ids=[item.row.id for item in docket.comparisons],
        )
        spent = judge_usd_spent(session, context.work.run_id)
    if len(answered) == docket.size:
        return
    ledger = _Ledger(context, docket, spent=spent, stored=len(answered))
    questions = _Questions(context, docket, answered)
    try:
        asyncio.run(_listen(context, docket, questions, ledger))
    except JudgeMisconfigured as error:
        raise StageRefused("judge_misconfigured", f"judge {docket.judge.name!r}: {error}") from error
    except JudgeBudgetReached as error:
        raise BudgetReached("judge_budget_reached", f"{ledger.spent} USD are spent: {error}") from error
    except JudgeUnavailable as error:
        detail = f"judge {docket.judge.name!r}: {error}"
        raise GiveBack(JUDGE_UNAVAILABLE, detail, retry_after_s=error.retry_after_s) from error
    if questions.cut:
        raise stopped(context)


class _Questions:
    """The questions still to ask, made when the judge has room for them; none after a stop is asked for."""

    def __init__(self, context: StageContext, docket: Docket, answered: frozenset[tuple[str, Order, int]]) -> None:
        self._context = context
        self._docket = docket
        self._answered = answered
        self.cut = False

    def __iter__(self) -> Iterator[Question]:
        for item in self._docket.comparisons:
            rubric = criteria_for(self._docket.rubric, item.prompt)
            for repeat, order in product(range(self._docket.repeats), Order):
                if (item.row.id, order, repeat) in self._answered:
                    continue
                if self._context.progress.should_stop():
                    self.cut = True
                    return
                yield self._question(item, rubric, order, repeat)

    def _question(self, item: Compared, rubric: Rubric, order: Order, repeat: int) -> Question:
        return Question(
            comparison_id=item.row.id,
            order=order,
            repeat=repeat,
            prompt=tuple(Message.model_validate(message) for message in item.prompt.messages),
            first=_turns(item.first.text),
            second=_turns(item.second.text),
            rubric=rubric,
            nonce=self._nonce(item),
            reference=item.prompt.reference,
            principle=item.row.principle,
            tools=item.prompt.tools,
        )

    def _nonce(self, item: Compared) -> str:
        """By the unit and not by its row's id, so that the same run asks the same question to the letter."""
        work = self._context.work
        names = (f"{row.source}:{row.position}" for row in (item.first, item.second))
        return f"{derive_seed(work.recipe.seed, work.round, 'nonce', item.prompt.external_id, *names):016x}"


def _turns(text: str) -> tuple[Message, ...]:
    return (Message(role=Role.ASSISTANT, content=text),)


class _Ledger:
    """Holds answers for a moment and stores them in small fenced transactions, together with what they cost."""

    def __init__(self, context: StageContext, docket: Docket, *, spent: Decimal, stored: int) -> None:
        self._context = context
        self._docket = docket
        self._waiting: list[JudgedAnswer] = []
        self._waiting_since = 0.0
        self._stored = stored
        limit = context.work.recipe.budget.judge_usd
        self._limit = None if limit is None else Decimal(str(limit))
        self.spent = spent

    def may_spend(self) -> bool:
        """Whether the run's budget allows one more call; answers in flight are not known yet."""
        return self._limit is None or self.spent < self._limit

    def add(self, answer: JudgedAnswer) -> None:
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._waiting.append(answer)
        self.spent += answer.cost_usd

    def due(self) -> bool:
        """Under a budget each answer is due at once: the run's other shards must know of it before they ask on."""
        if self._limit is not None and self._waiting:
            return True
        waited = time.monotonic() - self._waiting_since
        return len(self._waiting) >= STORED_AT_ONCE or (bool(self._waiting) and waited >= STORED_WITHIN_S - POLL_S)

    def store(self) -> None:
        """Write what is waiting. What was paid for is held for the time of a lease while the database is away."""
        if not self._waiting:
            return
        until = time.monotonic() + self._context.settings.lease_s
        while True:
            try:
                self._write()
                break
            except (OperationalError, InterfaceError):
                if time.monotonic() > until:
                    raise
                time.sleep(POLL_S)
        self._stored += len(self._waiting)
        self._waiting = []
        self._context.progress.report(self._stored, self._docket.size, {})

    def _write(self) -> None:
        """One transaction: done again it adds nothing, nor to what was spent. Learns what other shards spent."""
        with self._context.transaction() as session:
            rows = {new_id(Kind.VERDICT): answer for answer in self._waiting}
            added = add_verdicts(session, [self._row(id_, answer) for id_, answer in rows.items()])
            add_spending(session, self._context.work.stage_id, _spending([rows[id_] for id_ in added]))
            self.spent = judge_usd_spent(session, self._context.work.run_id)

    def _row(self, id_: str, answer: JudgedAnswer) -> dict[str, Any]:
        work = self._context.work
        return {
            "id": id_,
            "project_id": work.project_id,
            "run_id": work.run_id,
            "comparison_id": answer.comparison_id,
            "judge_id": self._docket.judge.id,
            "order": answer.order,
            "repeat": answer.repeat,
            "answer": answer.answer,
            "probability": answer.probability,
            "invalid_reason": answer.invalid_reason,
            "raw_text": answer.raw_text,
            "prompt_hash": answer.prompt_hash,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "cost_usd": answer.cost_usd,
            "latency_s": answer.latency_s,
            "attempts": answer.attempts,
            "scores": answer.scores,
        }


def _spending(answers: Sequence[JudgedAnswer]) -> Spending:
    return Spending(
        usd=sum((answer.cost_usd for answer in answers), Decimal(0)),
        calls=sum(answer.attempts for answer in answers),
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        completion_tokens=sum(answer.completion_tokens for answer in answers),
    )


async def _listen(context: StageContext, docket: Docket, questions: _Questions, ledger: _Ledger) -> None:
    """Store answers as they come, however the judge ends: a paid verdict is never lost."""
    async with aclosing(_build(context, docket.judge, ledger)) as judge, aclosing(judge.judge(questions)) as answers:
        try:
            await _store_all(context, answers, ledger)
        finally:
            ledger.store()


async def _store_all(context: StageContext, answers: AsyncGenerator[JudgedAnswer, None], ledger: _Ledger) -> None:
    """Wakes at least every POLL_S, so that a lone answer is stored in time and a stop does not wait for slow calls."""
    upcoming = asyncio.ensure_future(anext(answers, None))
    stop_at: float | None = None
    try:
        while True:
            await asyncio.wait({upcoming}, timeout=POLL_S)
            if upcoming.done():
                answer = upcoming.result()
                if answer is None:
                    return
                ledger.add(answer)
                upcoming = asyncio.ensure_future(anext(answers, None))
            if ledger.due():
                ledger.store()
            if stop_at is None and context.progress.should_stop():
                stop_at = time.monotonic() + context.settings.stop_grace_s / 2
            if stop_at is not None and time.monotonic() > stop_at:
                raise stopped(context)
    finally:
        upcoming.cancel()
        await asyncio.wait({upcoming})


def _build(context: StageContext, judge: JudgeRow, ledger: _Ledger) -> Judge:
    spec: JudgeSpec = TypeAdapter(JudgeSpec).validate_python(judge.spec)
    return build_judge(
        spec,
        may_spend=ledger.may_spend,
        api_key=_api_key(context, spec),
        model_dir=None if judge.model is None else model_directory(context, judge.model.storage_key),
        private_networks=context.settings.allowed_networks(),
    )


def _api_key(context: StageContext, spec: JudgeSpec) -> str | None:
    """The key that the judge's secret holds, for the host of its address alone. Raises StageRefused."""
    if not isinstance(spec, OpenAIJudge):
        return None
    try:
        require_address(spec, context.settings)
        if spec.secret is None:
            return None
        with context.read() as session:
            host = urlsplit(spec.base_url).hostname or ""
            return reveal(
                session, context.work.project_id, spec.secret, host=host, settings=context.settings
            ).get_secret_value()
    except ServiceError as error:
        raise StageRefused(error.code(), error.detail) from error
