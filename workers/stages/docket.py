"""What is put to a judge, made into questions when the judge has room for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from sqlalchemy.orm import Session

from app.repositories.prompts import PromptRow
from app.repositories.run_inputs import JudgeRow
from app.repositories.scores import rated_units
from app.repositories.verdicts import answered_units
from app.rlaif.comparison import Order
from app.rlaif.messages import Message
from app.rlaif.modes import Mode
from app.rlaif.questions import AnswerStyle, Question, Unit
from app.rlaif.rendering import Case
from app.rlaif.rubric import Rubric
from app.services.delimiters import delimiter_key
from workers.stages.compare import Compared
from workers.stages.contract import StageContext
from workers.stages.inputs import criteria_for
from workers.stages.prompt_questions import PromptQuestions, completions_in


@dataclass(frozen=True)
class Docket:
    """What is put to one judge: comparisons in both orders, `repeats` times, in one of the modes."""

    judge: JudgeRow
    rubric: Rubric
    comparisons: Sequence[Compared]
    repeats: int = 1
    mode: Mode = Mode.PAIRWISE

    @property
    def style(self) -> AnswerStyle:
        return AnswerStyle(self.judge.spec.get("answer_format", AnswerStyle.LABEL))

    @cached_property
    def size(self) -> int:
        """How many answers there will be."""
        return sum(self._asked(prompt, items) for prompt, items in self.by_prompt()) * len(Order) * self.repeats

    def by_prompt(self) -> Iterator[tuple[PromptRow, list[Compared]]]:
        for _, items in groupby(self.comparisons, key=lambda item: item.prompt.id):
            of_prompt = list(items)
            yield of_prompt[0].prompt, of_prompt

    def answered(self, session: Session, run_id: str) -> frozenset[Unit]:
        """What is stored already, INVALID or not."""
        if self.mode is Mode.POINTWISE:
            completions = [row.id for row in completions_in(self.comparisons)]
            return rated_units(session, run_id, judge_id=self.judge.id, completion_ids=completions)
        comparisons = [item.row.id for item in self.comparisons]
        return answered_units(session, run_id, judge_id=self.judge.id, comparison_ids=comparisons)

    def _asked(self, prompt: PromptRow, items: Sequence[Compared]) -> int:
        """Answers about one prompt, in each order."""
        match self.mode:
            case Mode.POINTWISE:
                return len(completions_in(items))
            case Mode.PER_CRITERION:
                return len(items) * len(criteria_for(self.rubric, prompt).criteria)
            case _:
                return len(items)


class Questions:
    """The questions still to ask, made when the judge has room for them; none after a stop is asked for."""

    def __init__(self, context: StageContext, docket: Docket, answered: frozenset[Unit]) -> None:
        self._context = context
        self._docket = docket
        self._answered = answered
        self.cut = False

    def __iter__(self) -> Iterator[Question]:
        docket = self._docket
        for prompt, items in docket.by_prompt():
            questions = PromptQuestions(self._case(prompt), items, docket.repeats, docket.mode, docket.style)
            for question in questions:
                if self._answered.issuperset(question.units):
                    continue
                if self._context.progress.should_stop():
                    self.cut = True
                    return
                yield question

    def _case(self, prompt: PromptRow) -> Case:
        return Case(
            prompt=tuple(Message.model_validate(message) for message in prompt.messages),
            rubric=criteria_for(self._docket.rubric, prompt),
            key=delimiter_key(self._context.settings, seed=self._context.work.recipe.seed),
            prompt_id=prompt.external_id,
            reference=prompt.reference,
            tools=prompt.tools,
        )
