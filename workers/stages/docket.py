"""What is put to a judge: each comparison in both orders, made into questions when the judge has room for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from app.repositories.run_inputs import JudgeRow
from app.rlaif.comparison import Order
from app.rlaif.messages import Message, Role
from app.rlaif.rubric import Rubric
from app.rlaif.seeds import derive_seed
from workers.judges.protocol import Question
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
