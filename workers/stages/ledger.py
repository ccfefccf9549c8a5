"""Holds a judge's answers for a moment and stores them in small fenced transactions, together with what they cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy.exc import InterfaceError, OperationalError

from app.db.ids import Kind, new_id
from app.repositories.verdicts import Spending, add_spending, add_verdicts, judge_usd_spent
from workers.judges.protocol import Judged, JudgedAnswer
from workers.stages.contract import StageContext
from workers.stages.docket import Docket

STORED_AT_ONCE = 50
STORED_WITHIN_S = 0.5
POLL_S = 0.2
"""How often a waiting stage wakes, so that a lone answer is stored in time."""


class Ledger:
    """The answers of one docket that are not stored yet, and what the run has spent."""

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

    def add(self, judged: Judged) -> None:
        """What one question got waits together, and is stored in one transaction."""
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._waiting += judged.verdicts()
        self.spent += judged.cost_usd

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
