"""The judge that repeats what was answered before: a question without a stored answer is INVALID, never guessed.

Its file is JSONL with the fields of an exported verdict, in the comparison's own numbering: for audits and imports.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.judging import PresentedAnswer, invalid, prompt_hash
from workers.judges.protocol import JudgedAnswer, JudgeMisconfigured, Question, rendered, verdict_of

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

    async def judge(self, questions: Iterable[Question]) -> AsyncGenerator[JudgedAnswer, None]:
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

    def _answer(self, question: Question) -> JudgedAnswer:
        asked = prompt_hash(rendered(question))
        by_prompt = self._stored.get((asked, None, question.repeat))
        stored = by_prompt or self._stored.get((question.comparison_id, question.order, question.repeat))
        if stored is None:
            missing = verdict_of(question, invalid(InvalidReason.SERVER))
            return replace(missing, raw_text="there is no stored answer to this question", prompt_hash=asked)
        return replace(verdict_of(question, stored.presented()), raw_text=stored.raw_text, prompt_hash=asked)
