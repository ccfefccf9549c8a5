"""The judge that repeats what was answered before: a question without a stored answer is INVALID, never guessed.

Only keys and places in the file are held in memory; an answer is read when it is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from app.rlaif.comparison import InvalidReason
from app.rlaif.pairwise import PairQuestion
from app.rlaif.questions import Question
from app.rlaif.rendering import prompt_hash
from app.rlaif.stored_answers import StoredAnswer, keys_of
from workers.judges.protocol import Judged, JudgeMisconfigured


class StoredJudge:
    """Free, and as consistent as the judge was whose answers it repeats."""

    def __init__(self, answers: Path) -> None:
        """Raises JudgeMisconfigured naming the line that is no answer or answers a question again."""
        self._answers = answers
        self._places: dict[str, int] = {}
        try:
            with answers.open("rb") as lines:
                self._find_places(lines)
        except OSError as error:
            raise JudgeMisconfigured(f"the stored answers cannot be read: {error}") from error

    async def judge(self, questions: Iterable[Question]) -> AsyncGenerator[Judged, None]:
        with self._answers.open("rb") as file:
            for question in questions:
                yield self._answer(question, file)

    async def aclose(self) -> None:
        """Holds nothing but memory."""

    def _find_places(self, lines: IO[bytes]) -> None:
        place = 0
        for number, line in enumerate(lines, start=1):
            stored = _read(line, f"line {number} of the stored answers")
            if stored.key in self._places:
                raise JudgeMisconfigured(f"line {number} of the stored answers answers {stored.key!r} a second time")
            self._places[stored.key] = place
            place += len(line)

    def _answer(self, question: Question, file: IO[bytes]) -> Judged:
        if not isinstance(question, PairQuestion):
            raise JudgeMisconfigured("stored answers compare two responses and answer no other question")
        asked = prompt_hash(question.messages())
        place = next((self._places[key] for key in keys_of(question, asked=asked) if key in self._places), None)
        if place is None:
            missing = question.unanswered(InvalidReason.SERVER)
            return Judged(missing, raw_text="there is no stored answer to this question", prompt_hash=asked)
        file.seek(place)
        stored = _read(file.readline(), f"the stored answer at byte {place}")
        return Judged((question.answered(stored.presented()),), raw_text=stored.raw_text, prompt_hash=asked)


def _read(line: bytes, where: str) -> StoredAnswer:
    try:
        return StoredAnswer.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the line"
        raise JudgeMisconfigured(f"{where}: {field}: {first['msg']}") from error
