"""Answer sets: named and immutable. A set comes in whole or not at all, and every bad line is named."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import AnswerSet
from app.db.session import WriteSession
from app.errors import InvalidInput, NotFound
from app.jsonl import BadLine, Line, read_lines
from app.problem_fields import FieldError
from app.repositories import answer_sets
from app.repositories.named import insert_named
from app.repositories.pages import Chunk, Slice
from app.rlaif.comparison import Answer
from app.rlaif.stored_answers import ANSWERS_FILE, StoredAnswer
from app.services.bad_lines import MOST_ERRORS, clash, field_error, refusal, uploading, validated
from app.storage import ArtifactStore, Manifest


class InvalidAnswers(InvalidInput):
    """Raised when lines are refused: `errors` names up to 100 of them. Nothing was stored."""


class EmptyAnswerSet(InvalidInput):
    """Raised when there is no answer at all."""


def upload(
    session: WriteSession,
    project_id: str,
    *,
    store: ArtifactStore,
    name: str,
    content: IO[bytes],
    max_line: int,
    max_total: int,
) -> AnswerSet:
    """A set from JSON lines, read once, in constant memory.

    Raises NameTaken, InvalidAnswers, EmptyAnswerSet, UploadTooLarge, UploadDamaged.
    """
    with tempfile.TemporaryDirectory(prefix="rlaif-answers-") as directory, uploading("set"):
        lines = read_lines(content, max_line=max_line, max_total=max_total)
        by_answer = _take_in(session, Path(directory) / ANSWERS_FILE, lines)
        digest, key = _publish(store, Path(directory))
    answer_set = AnswerSet(
        id=new_id(Kind.ANSWER_SET),
        project_id=project_id,
        name=name,
        answer_count=by_answer.total(),
        by_answer={answer.value: by_answer[answer] for answer in Answer},
        storage_key=key,
        digest=digest,
    )
    insert_named(session, answer_set)
    return answer_set


def get(session: Session, project_id: str, answer_set_id: str) -> AnswerSet:
    """Raises NotFound."""
    if (answer_set := answer_sets.get(session, project_id, answer_set_id)) is None:
        raise NotFound.of("answer set", answer_set_id)
    return answer_set


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[AnswerSet]:
    return answer_sets.page(session, project_id, slice_, name=name)


def _take_in(session: Session, file: Path, lines: Iterable[Line | BadLine]) -> Counter[Answer]:
    """Write the answers to the file, one a line; how many there are of each. Raises InvalidAnswers, EmptyAnswerSet."""
    by_answer: Counter[Answer] = Counter()
    errors: list[FieldError] = []
    with file.open("w", encoding="utf-8") as out:
        answer_sets.copy_keys(session, _written(lines, out, by_answer, errors))
    if errors:
        raise refusal(InvalidAnswers, errors)
    if not by_answer:
        raise EmptyAnswerSet("the set has no answers: send at least one", field="body")
    if twice := answer_sets.duplicate_keys(session, limit=MOST_ERRORS):
        message = "it answers what line {} answers: a judge gave one answer to one question"
        raise refusal(InvalidAnswers, [clash(line, message.format(earlier)) for line, earlier in twice])
    return by_answer


def _written(
    lines: Iterable[Line | BadLine], out: IO[str], by_answer: Counter[Answer], errors: list[FieldError]
) -> Iterator[tuple[int, str]]:
    for line in lines:
        checked = validated(line, StoredAnswer)
        if isinstance(checked, BadLine):
            errors.append(field_error(checked))
            if len(errors) >= MOST_ERRORS:
                return
        elif not errors:
            stored: StoredAnswer = checked.value
            out.write(stored.model_dump_json(exclude_none=True) + "\n")
            by_answer[stored.answer] += 1
            yield checked.number, stored.key


def _publish(store: ArtifactStore, directory: Path) -> tuple[str, str]:
    """The files' digest, and the key under which they lie."""
    digest = Manifest.of_directory(directory).digest
    key = f"answers/{digest}"
    store.publish(key, directory)
    return digest, key
