"""Has an endpoint answer prompts: completions that are paid for, stored as they come, and never asked for twice.

It goes the road of a judge's questions: the same limits, retries, circuit, price and budget. What an endpoint did not
answer is missing, not empty: doing the shard again asks for it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from app.db.models import Completion, CompletionSource
from app.repositories.run_inputs import JudgeRow
from app.repositories.units import add_missing
from app.repositories.verdicts import add_spending, judge_usd_spent
from app.rlaif.free_text import FreeText
from app.rlaif.recipe import Recipe
from app.rlaif.replies import Finish
from workers.judges.protocol import JudgedText
from workers.sampling.engine import SampleRequest
from workers.stages.asking import put_all, unstored_at_most
from workers.stages.contract import StageContext, StageOutcome
from workers.stages.inputs import StageInputs, shard_prompts, stop_if_asked
from workers.stages.ledger import Ledger, Stored, spending
from workers.stages.sample import completion_unit, missing
from workers.stages.subjects import tokenizer_key
from workers.stages.tokens import Tokenizer


def answer_shard(
    context: StageContext, inputs: StageInputs, endpoint: JudgeRow, *, source: CompletionSource, count: int
) -> StageOutcome:
    """Ask for what is missing of `count` completions of each prompt. Raises GiveBack, BudgetReached, StageRefused."""
    units = 0
    requests: list[SampleRequest] = []
    for prompts in shard_prompts(context, inputs.run.prompt_set_id):
        units += len(prompts)
        requests += missing(context, prompts, source, count)
    drawn = _Drawn(context, endpoint, source, asked=len(requests))
    if requests:
        put_all(context, _answering(endpoint, context.work.recipe), _questions(context, requests), drawn, anew=True)
        stop_if_asked(context)
    return StageOutcome(units, {"unanswered": drawn.unanswered})


def _answering(endpoint: JudgeRow, recipe: Recipe) -> JudgeRow:
    """The endpoint as a writer: at the recipe's temperature, with room for an answer, asked once."""
    spec = {**endpoint.spec, "temperature": recipe.sample.temperature, "max_tokens": 1, "repairs": 0}
    return replace(endpoint, spec={**spec, "answer_format": "label"})


def _questions(context: StageContext, requests: Sequence[SampleRequest]) -> Iterator[FreeText]:
    room = context.work.recipe.sample.max_new_tokens
    for request in requests:
        if context.progress.should_stop():
            return
        chat = tuple({"role": str(turn["role"]), "content": str(turn["content"])} for turn in request.messages)
        yield FreeText(request.key, chat, room)


class _Drawn(Ledger):
    """Stores answers as completions. Their tokens are counted by the tokenizer of the model that they are to meet."""

    def __init__(self, context: StageContext, endpoint: JudgeRow, source: CompletionSource, *, asked: int) -> None:
        with context.read() as session:
            spent: Decimal = judge_usd_spent(session, context.work.run_id)
        super().__init__(
            context, endpoint.id, spent=spent, on_stored=self._report, unstored_at_most=unstored_at_most(endpoint)
        )
        measure = context.work.recipe.measure
        key = None if measure is None else tokenizer_key(context, measure)
        self._tokenizer = None if key is None else Tokenizer.load(context, key)
        self._source = source
        self._asked = asked
        self._done = 0
        self.unanswered = 0

    def _report(self) -> None:
        limit = self._context.work.payload["limit"]
        self._context.progress.report(limit * self._done // max(self._asked, 1), limit, {})

    def _write(self, batch: Sequence[Stored]) -> Decimal:
        texts = [answer for answer in batch if isinstance(answer, JudgedText)]
        rows = [self._completion(answer) for answer in texts if answer.text is not None]
        with self._context.transaction() as session:
            add_missing(session, Completion, rows)
            add_spending(session, self._context.work.stage_id, spending(batch))
            spent = judge_usd_spent(session, self._context.work.run_id)
        self._done += len(texts)
        self.unanswered += len(texts) - len(rows)
        return spent

    def _completion(self, answer: JudgedText) -> dict[str, Any]:
        prompt_id, _, position = answer.key.rpartition(":")
        text = answer.text or ""
        return completion_unit(self._context, self._source, prompt_id, int(position)) | {
            "text": text,
            "finish_reason": "length" if answer.finish is Finish.LENGTH else "stop",
            "prompt_tokens": None,
            "tokens": None if self._tokenizer is None else len(self._tokenizer.encode(text)) + 1,  # and its end
            "seed": None,
        }
