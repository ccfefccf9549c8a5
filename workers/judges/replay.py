"""The judge that repeats what was answered before: a question without a stored answer is INVALID, never guessed.

Its file is JSONL with the fields of an exported verdict, in the comparison's own numbering: for audits and imports.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.pairwise import PairQuestion
from app.rlaif.questions import Question
from app.rlaif.rendering import prompt_hash
from app.rlaif.replies import PresentedAnswer
from workers.judges.protocol import Judged, JudgeMisconfigured

_VOTES = {Answer.A: 1.0, Answer.TIE: 0.5, Answer.B: 0.0}
_Key = tuple[str, Order | None, int]


class StoredAnswer(BaseModel):
    """One line of the file. With a `prompt_hash` it answers that very prompt, else its comparison in its order.

    Other fields of an exported verdict are ignored on purpose. Without `probability` the answer is a vote.
    """

    model_config = ConfigDict(frozen=True)

    order: Order
    answer: Answer
    comparison_id: str | None = None
    prompt_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    repeat: Annotated[int, Field(ge=0)] = 0
    probability: Annotated[float, Field(ge=0, le=1)] | None = None
    invalid_reason: InvalidReason | None = None
    raw_text: str | None = None

    @model_validator(mode="after")
    def _says_what_it_answers(self) -> Self:
        if self.comparison_id is None and self.prompt_hash is None:
            raise ValueError("an answer needs a prompt_hash or a comparison_id")
        self.presented()
        return self

    @property
    def key(self) -> _Key:
        if self.prompt_hash is not None:
            return (self.prompt_hash, None, self.repeat)
        return (self.comparison_id or "", self.order, self.repeat)

    def presented(self) -> PresentedAnswer:
        """The answer about what was shown first. Raises ValueError for an INVALID one without a reason."""
        probability = _VOTES.get(self.answer) if self.probability is None else self.probability
        return PresentedAnswer(self.answer, probability, self.invalid_reason).in_own_numbering(self.order)


class StoredJudge:
    """Free, and as consistent as the judge was whose answers it repeats."""

    def __init__(self, answers: Path) -> None:
        """Raises JudgeMisconfigured naming the line that is no answer or answers a question again."""
        self._stored: dict[_Key, StoredAnswer] = {}
        try:
            with answers.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    self._keep(line, number)
        except (OSError, UnicodeDecodeError) as error:
            raise JudgeMisconfigured(f"the stored answers cannot be read: {error}") from error

    async def judge(self, questions: Iterable[Question]) -> AsyncGenerator[Judged, None]:
        for question in questions:
            yield self._answer(question)

    async def aclose(self) -> None:
        """Holds nothing but memory."""

    def _keep(self, line: str, number: int) -> None:
        try:
            stored = StoredAnswer.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the line"
            raise JudgeMisconfigured(f"line {number} of the stored answers: {place}: {first['msg']}") from error
        if stored.key in self._stored:
            raise JudgeMisconfigured(f"line {number} of the stored answers answers {stored.key[0]!r} a second time")
        self._stored[stored.key] = stored

    def _answer(self, question: Question) -> Judged:
        if not isinstance(question, PairQuestion):
            raise JudgeMisconfigured("stored answers compare two responses and answer no other question")
        asked = prompt_hash(question.messages())
        by_prompt = self._stored.get((asked, None, question.repeat))
        stored = by_prompt or self._stored.get((question.comparison_id, question.order, question.repeat))
        if stored is None:
            missing = question.unanswered(InvalidReason.SERVER)
            return Judged(missing, raw_text="there is no stored answer to this question", prompt_hash=asked)
        return Judged((question.answered(stored.presented()),), raw_text=stored.raw_text, prompt_hash=asked)
