"""Labels that people gave elsewhere, as JSON lines: all come in or none, and the same file changes nothing twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import AnnotationQueue
from app.db.session import WriteSession
from app.errors import InvalidInput
from app.jsonl import BadLine, Line, read_lines
from app.problem_fields import FieldError
from app.repositories import annotation_imports, annotation_seats
from app.repositories.annotation_imports import BadLabel, Imported, IncomingAnnotation
from app.repositories.annotation_seats import NewSeat
from app.rlaif.annotated import AnnotatedPair, pairs_of
from app.rlaif.annotation import Annotator, GivenAnswer, PersonAnswer, SkipReason
from app.rlaif.messages import Content
from app.rlaif.prompt import Prompt
from app.services import annotation_queues
from app.services.bad_lines import MOST_ERRORS, clash, field_error, refusal, uploading, validated

_SETTLED_AT_ONCE = 1000


class InvalidAnnotations(InvalidInput):
    """Raised when lines are refused: `errors` names up to 100 of them. Nothing was stored."""


class NoAnnotations(InvalidInput):
    """Raised when there is no label at all."""


class ComparisonLabel(BaseModel):
    """What one person answered about a run's comparison, in its own numbering: A is its first completion."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    comparison_id: Annotated[str, Field(min_length=1, max_length=64)]
    annotator: Annotator
    answer: PersonAnswer
    skip_reason: SkipReason | None = None
    note: Content | None = None
    seconds: Annotated[float, Field(ge=0, le=1e9)] | None = None
    adjudication: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _a_skip_has_a_reason(self) -> Self:
        if (self.answer is PersonAnswer.SKIP) != (self.skip_reason is not None):
            raise ValueError("a skip has a skip_reason, and nothing else has one")
        if self.adjudication and self.answer is PersonAnswer.SKIP:
            raise ValueError("an adjudication decides: it cannot be a skip")
        return self


def upload(
    session: WriteSession, project_id: str, queue_id: str, *, content: IO[bytes], max_line: int, max_total: int
) -> Imported:
    """Labels from JSON lines, read once, in constant memory.

    Raises NotFound, InvalidAnnotations, NoAnnotations, UploadTooLarge, UploadDamaged.
    """
    queue = annotation_queues.get(session, project_id, queue_id, lock=True)
    intake = _Intake()
    with uploading("upload"):
        annotation_imports.copy_in(session, intake.rows(read_lines(content, max_line=max_line, max_total=max_total)))
    intake.require_good()
    _require_coherent(session, queue)
    return _move_in(session, queue, labels=intake.labels)


class _Intake:
    """Turns lines into rows, and remembers what was wrong."""

    def __init__(self) -> None:
        self.labels = 0
        self._errors: list[FieldError] = []

    def rows(self, lines: Iterable[Line | BadLine]) -> Iterator[IncomingAnnotation]:
        for line in lines:
            checked = _checked(line)
            if isinstance(checked, BadLine):
                self._errors.append(field_error(checked))
                if len(self._errors) >= MOST_ERRORS:
                    return
            elif not self._errors:
                for row in _rows(checked):
                    self.labels += 1
                    yield row

    def require_good(self) -> None:
        """Raises InvalidAnnotations, NoAnnotations."""
        if self._errors:
            raise refusal(InvalidAnnotations, self._errors)
        if self.labels == 0:
            raise NoAnnotations("the upload has no labels: send at least one", field="body")


def _checked(line: Line | BadLine) -> Line | BadLine:
    """A line about a comparison names it; any other is a prompt with candidates and annotations."""
    if isinstance(line, Line) and isinstance(line.value, dict) and "comparison_id" in line.value:
        return validated(line, ComparisonLabel)
    checked = validated(line, Prompt)
    if isinstance(checked, Line) and not checked.value.annotations:
        return BadLine(line.number, "the prompt has no annotations: leave the line out", "annotations")
    return checked


def _rows(line: Line) -> Iterator[IncomingAnnotation]:
    if isinstance(line.value, ComparisonLabel):
        yield _about_comparison(line.number, line.value)
        return
    for pair in pairs_of(line.value):
        item_id, content = new_id(Kind.ANNOTATION_ITEM), _content(pair)
        for given in pair.given:
            yield _about_content(line.number, item_id, pair, content, given)


def _about_comparison(number: int, label: ComparisonLabel) -> IncomingAnnotation:
    return IncomingAnnotation(
        line=number,
        item_id=new_id(Kind.ANNOTATION_ITEM),
        annotation_id=new_id(Kind.ANNOTATION),
        content=None,
        content_hash=None,
        prompt_key=None,
        **dict(label),
    )


def _about_content(
    number: int, item_id: str, pair: AnnotatedPair, content: dict[str, Any], given: GivenAnswer
) -> IncomingAnnotation:
    return IncomingAnnotation(
        line=number,
        item_id=item_id,
        annotation_id=new_id(Kind.ANNOTATION),
        comparison_id=None,
        content=content,
        content_hash=pair.content_hash,
        prompt_key=pair.prompt_key,
        annotator=given.annotator,
        answer=PersonAnswer(given.answer),
        skip_reason=None,
        note=None,
        seconds=None,
        adjudication=given.adjudication,
    )


def _content(pair: AnnotatedPair) -> dict[str, Any]:
    return {**pair.prompt, "candidates": list(pair.candidates), "authors": list(pair.authors)}


def _require_coherent(session: Session, queue: AnnotationQueue) -> None:
    """Raises InvalidAnnotations."""
    if unknown := annotation_imports.unknown_comparisons(session, queue.project_id, limit=MOST_ERRORS):
        _refuse(unknown, "comparison_id", "comparison {0.value!r} does not exist in this project")
    if twice := annotation_imports.contradictions(session, queue.id, limit=MOST_ERRORS):
        _refuse(twice, "answer", "{0.value!r} answers otherwise in {0.earlier}: an answer stays")
    if second := annotation_imports.second_adjudications(session, queue.id, limit=MOST_ERRORS):
        _refuse(second, "adjudication", "{0.value!r} comes second: {0.earlier} has the last word on this item")


def _refuse(found: list[BadLabel], field: str, message: str) -> None:
    raise refusal(InvalidAnnotations, [clash(bad.line, message.format(bad), field=field) for bad in found])


def _move_in(session: WriteSession, queue: AnnotationQueue, *, labels: int) -> Imported:
    items = annotation_imports.move_items(session, queue.project_id, queue.id)
    annotation_imports.point_at_items(session, queue.id)
    annotations = annotation_imports.move_annotations(session, queue.project_id, queue.id)
    for batch in annotation_imports.touched(session, batch=_SETTLED_AT_ONCE):
        lacking = {each.item_id: queue.annotators_per_item - each.seats - each.annotations for each in batch}
        seats = (NewSeat(item_id, 0.0) for item_id, count in lacking.items() for _ in range(count))
        annotation_seats.add(session, queue, seats)
        for item_id, count in lacking.items():
            if count < 0:
                annotation_seats.remove_free(session, item_id, -count)
        annotation_queues.settle(session, queue, list(lacking))
    return Imported(items, annotations, labels - annotations)
