"""Capability tasks: named and immutable. A task comes in whole or not at all, with every document rendered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import IO, Any

from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Task, TaskDocument, TaskOutcome
from app.db.session import WriteSession
from app.errors import InvalidInput, NotFound
from app.jsonl import BadLine, Line, read_lines
from app.problem_fields import FieldError
from app.repositories import tasks
from app.repositories.named import insert_named
from app.repositories.pages import Chunk, Slice
from app.rlaif.task import MOST_DOCUMENTS, TaskConfig, task_digest
from app.services.bad_lines import MOST_ERRORS, field_error, refusal, uploading, validated
from app.services.task_rendering import render


class InvalidTask(InvalidInput):
    """Raised when lines of an upload are refused: `errors` names up to 100 of them. Nothing was stored."""


class EmptyTask(InvalidInput):
    """Raised when a task has no documents, or more than MOST_DOCUMENTS."""


def create(
    session: WriteSession, project_id: str, *, name: str, config: TaskConfig, documents: Sequence[Mapping[str, Any]]
) -> Task:
    """A task whose documents are at hand. Raises NameTaken, TemplateRefused."""
    fields = [f"documents[{place}]" for place in range(len(documents))]
    return _store(session, project_id, name=name, config=config, documents=documents, fields=fields)


def upload(
    session: WriteSession, project_id: str, *, name: str, content: IO[bytes], max_line: int, max_total: int
) -> Task:
    """A task from JSON lines: the first is the config, each other one a document.

    Raises NameTaken, InvalidTask, EmptyTask, TemplateRefused, UploadTooLarge, UploadDamaged.
    """
    with uploading("task"):
        config, documents = _read(read_lines(content, max_line=max_line, max_total=max_total))
    fields = [f"line {line.number}" for line in documents]
    values = [line.value for line in documents]
    return _store(session, project_id, name=name, config=config, documents=values, fields=fields)


def get(session: Session, project_id: str, task_id: str) -> Task:
    """Raises NotFound."""
    if (task := tasks.get(session, project_id, task_id)) is None:
        raise NotFound.of("task", task_id)
    return task


def find(session: Session, project_id: str, id_or_name: str) -> Task:
    """The task of this id, or of this name. Raises NotFound."""
    if (task := tasks.get(session, project_id, id_or_name) or tasks.named(session, project_id, id_or_name)) is None:
        raise NotFound.of("task", id_or_name)
    return task


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[Task]:
    return tasks.page(session, project_id, slice_, name=name)


def documents(session: Session, project_id: str, task_id: str, slice_: Slice) -> Chunk[TaskDocument]:
    """Raises NotFound."""
    return tasks.documents(session, get(session, project_id, task_id).id, slice_)


def outcomes(
    session: Session, project_id: str, task_id: str, slice_: Slice, *, model_digest: str
) -> Chunk[TaskOutcome]:
    """What the model of a digest scored, document by document. Raises NotFound."""
    task = get(session, project_id, task_id)
    return tasks.outcome_page(session, project_id, slice_, digest=task.digest, model_digest=model_digest)


def _read(lines: Iterable[Line | BadLine]) -> tuple[TaskConfig, list[Line]]:
    """Raises InvalidTask, EmptyTask."""
    config: TaskConfig | None = None
    documents: list[Line] = []
    errors: list[FieldError] = []
    for line in lines:
        read = validated(line, TaskConfig) if config is None and not errors else _document(line)
        if isinstance(read, BadLine):
            errors.append(field_error(read))
        elif isinstance(read.value, TaskConfig):
            config = read.value
        else:
            documents.append(read)
        if len(errors) >= MOST_ERRORS or len(documents) > MOST_DOCUMENTS:
            break
    if errors:
        raise refusal(InvalidTask, errors)
    if config is None or not 0 < len(documents) <= MOST_DOCUMENTS:
        raise EmptyTask(
            f"a task needs its config in the first line and from 1 to {MOST_DOCUMENTS} documents behind it",
            field="body",
        )
    return config, documents


def _document(line: Line | BadLine) -> Line | BadLine:
    if isinstance(line, BadLine) or (isinstance(line.value, dict) and 0 < len(line.value) <= 1000):
        return line
    return BadLine(line.number, "a document is an object with at least one field")


def _store(
    session: WriteSession,
    project_id: str,
    *,
    name: str,
    config: TaskConfig,
    documents: Sequence[Mapping[str, Any]],
    fields: Sequence[str],
) -> Task:
    questions = render(config, documents, fields=fields)
    task = Task(
        id=new_id(Kind.TASK),
        project_id=project_id,
        name=name,
        config=config.model_dump(mode="json"),
        document_count=len(documents),
        digest=task_digest(config, documents),
    )
    insert_named(session, task)
    rows = [
        {"task_id": task.id, "position": place, "document": dict(document), **asdict(asked)}
        for place, (document, asked) in enumerate(zip(documents, questions, strict=True))
    ]
    tasks.add_documents(session, rows)
    return task
