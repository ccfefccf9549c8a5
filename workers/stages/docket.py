"""What is put to a judge, made into questions when the judge has room for them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from app.repositories.prompts import PromptRow
from app.repositories.run_inputs import JudgeRow
from app.repositories.scores import rated_units
from app.repositories.verdicts import answered_units
from app.rlaif.judges import JudgeSpec, style_of
from app.rlaif.messages import Message
from app.rlaif.modes import Mode
from app.rlaif.questions import AnswerStyle, Question, Unit
from app.rlaif.rendering import Case
from app.rlaif.rubric import Rubric
from app.services.delimiters import delimiter_key
from workers.ahead import ahead
from workers.stages.compare import Block
from workers.stages.contract import StageContext
from workers.stages.inputs import criteria_for
from workers.stages.prompt_questions import PromptQuestions, completions_in

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)


@dataclass(frozen=True)
class Docket:
    """What is put to one judge: comparisons in both orders, `repeats` times, in one of the modes.

    `blocks` reads them anew each time it is called, block by block: a shard may hold more of them than memory does.
    Of `turns` judges that are asked one after another this is number `turn`, from 0.
    """

    judge: JudgeRow
    rubric: Rubric
    blocks: Callable[[], Iterator[Block]]
    repeats: int = 1
    mode: Mode = Mode.PAIRWISE
    turn: int = 0
    turns: int = 1

    @property
    def style(self) -> AnswerStyle:
        return style_of(_SPEC.validate_python(self.judge.spec))

    def answered(self, session: Session, run_id: str, block: Block) -> frozenset[Unit]:
        """What is stored already of a block, INVALID or not."""
        if self.mode is Mode.POINTWISE:
            completions = [row.id for row in completions_in(block.comparisons)]
            return rated_units(session, run_id, judge_id=self.judge.id, completion_ids=completions)
        comparisons = [item.row.id for item in block.comparisons]
        return answered_units(session, run_id, judge_id=self.judge.id, comparison_ids=comparisons)


class Questions:
    """The questions still to ask, made when the judge has room for them; none after a stop is asked for.

    The next block is read in a thread while this one is asked.
    """

    def __init__(self, context: StageContext, docket: Docket) -> None:
        self._context = context
        self._docket = docket
        self._prompts = 0
        self.cut = False

    def report(self) -> None:
        """Tells how many of the shard's prompts have been asked about, where several judges are asked in part."""
        limit = self._context.work.payload["limit"]
        done = (self._docket.turn * limit + self._prompts) // self._docket.turns
        self._context.progress.report(done, limit, {})

    def __iter__(self) -> Generator[Question, None, None]:
        with closing(ahead(self._read())) as blocks:
            for block, answered in blocks:
                for question in self._of_block(block):
                    if answered.issuperset(question.units):
                        continue
                    if self._context.progress.should_stop():
                        self.cut = True
                        return
                    yield question
                self._prompts += block.prompts

    def _read(self) -> Iterator[tuple[Block, frozenset[Unit]]]:
        for block in self._docket.blocks():
            with self._context.read() as session:
                answered = self._docket.answered(session, self._context.work.run_id, block)
            yield block, answered

    def _of_block(self, block: Block) -> Iterator[Question]:
        docket = self._docket
        for prompt, items in block.by_prompt():
            yield from PromptQuestions(
                case_of(prompt, docket.rubric, key=self._key), items, docket.repeats, docket.mode, docket.style
            )

    @cached_property
    def _key(self) -> bytes:
        with self._context.read() as session:
            return delimiter_key(session, self._context.settings)


def case_of(prompt: PromptRow, rubric: Rubric, *, key: bytes) -> Case:
    """What a judge is asked about a prompt's responses: the prompt, and the rubric with its own criteria."""
    return Case(
        prompt=tuple(Message.model_validate(message) for message in prompt.messages),
        rubric=criteria_for(rubric, prompt),
        key=key,
        prompt_id=prompt.external_id,
        reference=prompt.reference,
        tools=prompt.tools,
    )
