"""Holds a judge's answers for a moment and stores them in small fenced transactions, together with what they cost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from sqlalchemy.exc import InterfaceError, OperationalError

from app.db.ids import Kind, new_id
from app.repositories.reply_cache import remember
from app.repositories.scores import add_scores
from app.repositories.verdicts import Spending, add_spending, add_verdicts, judge_usd_spent
from workers.judges.protocol import Judged, JudgedAnswer, JudgedScore, JudgedText
from workers.stages.contract import StageContext

STORED_AT_ONCE = 200
STORED_WITHIN_S = 0.1
UNSTORED_AT_MOST = 500
"""Replies that may wait to be stored where nobody is paid; of a paid judge as many as it has calls in flight."""

NEAR_ANSWERS = 1000
"""With less of the budget left than so many answers cost, each one is stored before the next is read."""

POLL_S = 0.2

Stored = JudgedAnswer | JudgedScore | JudgedText


class Ledger:
    """The answers of one docket that are not stored yet, and what the run has spent.

    Belongs to one event loop. Storing itself waits in a thread, so that calls go on while PostgreSQL commits. At most
    `unstored_at_most` replies wait for it: a `kill -9` loses no more than these and the calls that have no reply yet.
    """

    def __init__(
        self,
        context: StageContext,
        judge_id: str,
        *,
        spent: Decimal,
        on_stored: Callable[[], None],
        unstored_at_most: int = UNSTORED_AT_MOST,
    ) -> None:
        self._context = context
        self._judge_id = judge_id
        self._on_stored = on_stored
        self._unstored_at_most = unstored_at_most
        self._waiting: list[Stored] = []
        self._waiting_replies = 0
        self._unstored_replies = 0  # those that wait, and those that are being written
        self._some = asyncio.Event()
        self._enough = asyncio.Event()
        self._storing = asyncio.Lock()
        limit = context.work.recipe.budget.judge_usd
        self._limit = None if limit is None else Decimal(str(limit))
        self._dearest = Decimal(0)
        self.spent = spent

    def may_spend(self) -> bool:
        """Whether the run's budget allows one more call; answers in flight are not known yet."""
        return self._limit is None or self.spent < self._limit

    async def add(self, judged: Judged) -> None:
        """What one question got waits together, and is stored in one transaction.

        Returns at once, unless too much waits, or the budget is nearly spent: then the run's other shards must know of
        each answer before they ask on.
        """
        self._waiting += judged.verdicts() or judged.scores() or judged.texts()
        self._waiting_replies += 1
        self._unstored_replies += 1
        self.spent += judged.cost_usd
        self._dearest = max(self._dearest, judged.cost_usd)
        self._some.set()
        if len(self._waiting) >= STORED_AT_ONCE or 2 * self._waiting_replies >= self._unstored_at_most:
            self._enough.set()
        if self._unstored_replies >= self._unstored_at_most or self._is_near_limit():
            await self.store()

    async def keep_storing(self) -> None:
        """Store whenever enough waits or anything has waited for long; ends only by an error or by being cancelled."""
        while True:
            await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(STORED_WITHIN_S):
                    await self._enough.wait()
            await self.store()

    async def store(self) -> None:
        """Write what is waiting. What was paid for is held for the time of a lease while the database is away."""
        async with self._storing:
            batch, self._waiting = self._waiting, []
            replies, self._waiting_replies = self._waiting_replies, 0
            self._some.clear()
            self._enough.clear()
            if not batch:
                return
            writing = asyncio.ensure_future(asyncio.to_thread(self._write_patiently, batch))
            try:
                await asyncio.shield(writing)
            finally:
                await asyncio.wait({writing})  # a thread cannot be cancelled
                self._settle(batch, replies, writing)

    def _settle(self, batch: list[Stored], replies: int, writing: asyncio.Future[Decimal]) -> None:
        if writing.exception() is not None:
            self._waiting = batch + self._waiting
            self._waiting_replies += replies
            return
        self._unstored_replies -= replies
        self.spent = writing.result() + sum((answer.cost_usd for answer in self._waiting), Decimal(0))
        self._on_stored()

    def _is_near_limit(self) -> bool:
        return self._limit is not None and self._limit - self.spent < NEAR_ANSWERS * self._dearest

    def _write_patiently(self, batch: Sequence[Stored]) -> Decimal:
        until = time.monotonic() + self._context.settings.lease_s
        while True:
            try:
                return self._write(batch)
            except (OperationalError, InterfaceError):
                if time.monotonic() > until:
                    raise
                time.sleep(POLL_S)

    def _write(self, batch: Sequence[Stored]) -> Decimal:
        """One transaction: done again it adds nothing, nor to what was spent. Gives what the run has spent by then."""
        with self._context.transaction() as session:
            verdicts = {new_id(Kind.VERDICT): answer for answer in batch if isinstance(answer, JudgedAnswer)}
            scores = {new_id(Kind.SCORE): answer for answer in batch if isinstance(answer, JudgedScore)}
            added = add_verdicts(session, [self._verdict(id_, answer) for id_, answer in verdicts.items()])
            added += add_scores(session, [self._score(id_, answer) for id_, answer in scores.items()])
            stored: dict[str, Stored] = {**verdicts, **scores}
            remember(
                session, self._context.work.project_id, [answer.kept for answer in batch if answer.kept is not None]
            )
            add_spending(session, self._context.work.stage_id, spending([stored[id_] for id_ in added]))
            return judge_usd_spent(session, self._context.work.run_id)

    def _verdict(self, id_: str, answer: JudgedAnswer) -> dict[str, Any]:
        return self._row(id_, answer) | {
            "comparison_id": answer.comparison_id,
            "criterion": answer.criterion,
            "weight": answer.weight,
            "answer": answer.answer,
            "probability": answer.probability,
            "scores": answer.scores,
            "notes": None if answer.notes is None else [asdict(note) for note in answer.notes],
            "saved_usd": answer.saved_usd,
        }

    def _score(self, id_: str, answer: JudgedScore) -> dict[str, Any]:
        return self._row(id_, answer) | {"completion_id": answer.completion_id, "points": answer.points}

    def _row(self, id_: str, answer: JudgedAnswer | JudgedScore) -> dict[str, Any]:
        """What every stored answer has."""
        work = self._context.work
        return {
            "id": id_,
            "project_id": work.project_id,
            "run_id": work.run_id,
            "judge_id": self._judge_id,
            "order": answer.order,
            "repeat": answer.repeat,
            "invalid_reason": answer.invalid_reason,
            "raw_text": answer.raw_text,
            "prompt_hash": answer.prompt_hash,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "cost_usd": answer.cost_usd,
            "latency_s": answer.latency_s,
            "attempts": answer.attempts,
            "cached": answer.cached,
        }


def spending(answers: Sequence[Stored]) -> Spending:
    """What some answers cost together."""
    return Spending(
        usd=sum((answer.cost_usd for answer in answers), Decimal(0)),
        calls=sum(answer.attempts for answer in answers),
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        completion_tokens=sum(answer.completion_tokens for answer in answers),
        answers=len(answers),
        cached_answers=sum(answer.cached for answer in answers),
        saved_usd=sum((answer.saved_usd for answer in answers), Decimal(0)),
    )
