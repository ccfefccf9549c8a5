"""What is put to a judge: each comparison in both orders, made into questions when the judge has room for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product

from app.db.models import CompletionSource
from app.repositories.completions import CompletionRow
from app.repositories.prompts import PromptRow
from app.repositories.run_inputs import JudgeRow
from app.rlaif.comparison import Order
from app.rlaif.messages import Message, Role
from app.rlaif.pairwise import PairQuestion
from app.rlaif.questions import Question
from app.rlaif.rendering import Case, Response
from app.rlaif.rubric import Rubric
from app.services.delimiters import delimiter_key
from workers.stages.compare import Compared
from workers.stages.contract import StageContext
from workers.stages.inputs import criteria_for


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


class Questions:
    """The questions still to ask, made when the judge has room for them; none after a stop is asked for."""

    def __init__(self, context: StageContext, docket: Docket, answered: frozenset[tuple[str, Order, int]]) -> None:
        self._context = context
        self._docket = docket
        self._answered = answered
        self.cut = False

    def __iter__(self) -> Iterator[Question]:
        for _, items in groupby(self._docket.comparisons, key=lambda item: item.prompt.id):
            prompt_items = list(items)
            yield from self._of_prompt(prompt_items[0].prompt, prompt_items)
            if self.cut:
                return

    def _of_prompt(self, prompt: PromptRow, items: Sequence[Compared]) -> Iterator[Question]:
        case = self._case(prompt)
        responses: dict[str, Response] = {}
        for item in items:
            first, second = (_response(responses, row) for row in (item.first, item.second))
            for repeat, order in product(range(self._docket.repeats), Order):
                if (item.row.id, order, repeat) in self._answered:
                    continue
                if self._context.progress.should_stop():
                    self.cut = True
                    return
                yield PairQuestion(case, first, second, item.row.id, order, repeat, item.row.principle)

    def _case(self, prompt: PromptRow) -> Case:
        return Case(
            prompt=tuple(Message.model_validate(message) for message in prompt.messages),
            rubric=criteria_for(self._docket.rubric, prompt),
            key=delimiter_key(self._context.settings, seed=self._context.work.recipe.seed),
            prompt_id=prompt.external_id,
            reference=prompt.reference,
            tools=prompt.tools,
        )


def _response(responses: dict[str, Response], row: CompletionRow) -> Response:
    """One object for each completion, so that it is rendered once for all of its comparisons."""
    if row.id not in responses:
        candidate = row.position if row.source is CompletionSource.IMPORTED else None
        responses[row.id] = Response((Message(role=Role.ASSISTANT, content=row.text),), candidate)
    return responses[row.id]
