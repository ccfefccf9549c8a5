"""Has an endpoint criticise answers: critiques that are paid for, stored as they come, and never asked for twice.

It goes the road of a judge's questions: the same limits, retries, circuit, price and budget. What the endpoint did not
criticise ends there, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from app.db.models import RevisedAnswer
from app.repositories.run_inputs import JudgeRow
from app.repositories.units import add_missing
from app.repositories.verdicts import add_spending, judge_usd_spent
from app.rlaif.critique import Ending
from app.rlaif.free_text import FreeText
from workers.judges.protocol import JudgedText
from workers.stages.asking import put_all, unstored_at_most
from workers.stages.contract import StageContext
from workers.stages.inputs import stop_if_asked
from workers.stages.ledger import Ledger, Stored, spending


@dataclass(frozen=True, slots=True)
class OpenCritique:
    """What the critic is asked, and the row that holds what it says."""

    messages: Sequence[Mapping[str, Any]]
    row: Mapping[str, Any]


def consult(context: StageContext, critic: JudgeRow, questions: Sequence[OpenCritique]) -> None:
    """Ask and store. Raises GiveBack, BudgetReached, StageRefused."""
    stop_if_asked(context)
    if questions:
        room = context.work.recipe.sample.max_new_tokens
        asked = [FreeText(question.row["prompt_id"], _chat(question), room) for question in questions]
        put_all(context, _writing(critic), asked, _Critiques(context, critic, questions), anew=True)
        stop_if_asked(context)


def _writing(critic: JudgeRow) -> JudgeRow:
    """The judge as a writer: it has room for a text, and is asked once."""
    return replace(critic, spec={**critic.spec, "max_tokens": 1, "repairs": 0, "answer_format": "label"})


def _chat(question: OpenCritique) -> tuple[dict[str, str], ...]:
    return tuple({"role": str(turn["role"]), "content": str(turn.get("content") or "")} for turn in question.messages)


class _Critiques(Ledger):
    """Stores critiques as steps that are yet to be revised."""

    def __init__(self, context: StageContext, critic: JudgeRow, questions: Sequence[OpenCritique]) -> None:
        with context.read() as session:
            spent = judge_usd_spent(session, context.work.run_id)
        super().__init__(
            context, critic.id, spent=spent, on_stored=lambda: None, unstored_at_most=unstored_at_most(critic)
        )
        self._rows = {str(question.row["prompt_id"]): question.row for question in questions}

    def _write(self, batch: Sequence[Stored]) -> Decimal:
        """One transaction: done again it adds nothing, nor to what was spent."""
        texts = {str(self._rows[each.key]["id"]): each for each in batch if isinstance(each, JudgedText)}
        with self._context.transaction() as session:
            added = add_missing(session, RevisedAnswer, [self._criticised(each) for each in texts.values()])
            add_spending(session, self._context.work.stage_id, spending([texts[id_] for id_ in added]))
            return judge_usd_spent(session, self._context.work.run_id)

    def _criticised(self, written: JudgedText) -> dict[str, Any]:
        ended = (
            {"text": None, "finish_reason": None} if written.text else {"text": "", "finish_reason": Ending.NO_CRITIQUE}
        )
        tokens = written.completion_tokens if written.text else None
        return {**self._rows[written.key], **ended, "critique": written.text, "critique_tokens": tokens}
