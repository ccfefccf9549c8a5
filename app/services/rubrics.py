"""Rubrics: named, with immutable revisions; equal content is the same revision."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Rubric, RubricRevision
from app.db.session import WriteSession
from app.errors import InvalidInput, NotFound
from app.repositories import rubrics
from app.repositories.named import insert_named
from app.repositories.pages import Chunk, Slice
from app.rlaif import checks
from app.rlaif import rubric as domain
from app.rlaif.rubric_diff import Change, diff
from app.rlaif.rubric_finding import Finding
from app.rlaif.rubric_lint import lint


class InvalidRubric(InvalidInput):
    """Raised when a criterion's check could not run: a pattern that RE2 refuses, a JSON schema that could explode."""


class NothingBefore(InvalidInput):
    """Raised when a first revision is to be compared with the one before it."""


@dataclass(frozen=True, slots=True)
class LatestRubric:
    """A rubric with its newest revision."""

    rubric: Rubric
    revision: RubricRevision


@dataclass(frozen=True, slots=True)
class RevisionDiff:
    """Two revisions of one rubric and what changed from the first to the second."""

    before: RubricRevision
    after: RubricRevision
    changes: tuple[Change, ...]


def create(session: WriteSession, project_id: str, *, name: str, content: domain.Rubric) -> LatestRubric:
    """A rubric with its first revision. Raises InvalidRubric, NameTaken."""
    _require_runnable(content)
    rubric = Rubric(id=new_id(Kind.RUBRIC), project_id=project_id, name=name)
    insert_named(session, rubric)
    return LatestRubric(rubric, _insert_revision(session, rubric, content))


def revise(session: WriteSession, project_id: str, rubric_id: str, *, content: domain.Rubric) -> RubricRevision:
    """The rubric's revision with this content: a new one, or the one that already has it.

    Raises NotFound, InvalidRubric.
    """
    _require_runnable(content)
    rubric = rubrics.get(session, project_id, rubric_id, lock=True)
    if rubric is None:
        raise NotFound.of("rubric", rubric_id)
    existing = rubrics.same_content(session, rubric.id, content.content_hash())
    return existing or _insert_revision(session, rubric, content)


def get(session: Session, project_id: str, rubric_id: str) -> LatestRubric:
    """Raises NotFound."""
    rubric = rubrics.get(session, project_id, rubric_id)
    if rubric is None:
        raise NotFound.of("rubric", rubric_id)
    return LatestRubric(rubric, rubrics.latest(session, [rubric.id])[rubric.id])


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[LatestRubric]:
    found = rubrics.page(session, project_id, slice_, name=name)
    newest = rubrics.latest(session, [rubric.id for rubric in found.rows])
    return Chunk(tuple(LatestRubric(rubric, newest[rubric.id]) for rubric in found.rows), found.has_more, found.last)


def get_revision(session: Session, project_id: str, rubric_id: str, number: int) -> RubricRevision:
    """Raises NotFound."""
    revision = rubrics.revision(session, project_id, rubric_id, number)
    if revision is None:
        raise NotFound.of("revision", f"{rubric_id}/{number}")
    return revision


def revisions(session: Session, project_id: str, rubric_id: str, slice_: Slice) -> Chunk[RubricRevision]:
    """Raises NotFound."""
    if rubrics.get(session, project_id, rubric_id) is None:
        raise NotFound.of("rubric", rubric_id)
    return rubrics.revisions(session, project_id, rubric_id, slice_)


def findings(content: domain.Rubric) -> tuple[Finding, ...]:
    """What the linter says of content that nobody has stored. Raises InvalidRubric."""
    _require_runnable(content)
    return lint(content)


def revision_findings(session: Session, project_id: str, rubric_id: str, number: int) -> tuple[Finding, ...]:
    """Raises NotFound."""
    return lint(_content(get_revision(session, project_id, rubric_id, number)))


def revision_diff(
    session: Session, project_id: str, rubric_id: str, number: int, *, against: int | None
) -> RevisionDiff:
    """From revision `against`, or the one before, to revision `number`. Raises NotFound, NothingBefore."""
    after = get_revision(session, project_id, rubric_id, number)
    if against is None and number == 1:
        raise NothingBefore(
            f"revision 1 of rubric {rubric_id!r} is the first: name another one by `against`", field="against"
        )
    before = get_revision(session, project_id, rubric_id, number - 1 if against is None else against)
    return RevisionDiff(before, after, diff(_content(before), _content(after)))


def _content(revision: RubricRevision) -> domain.Rubric:
    return domain.Rubric.model_validate(revision.content)


def _insert_revision(session: WriteSession, rubric: Rubric, content: domain.Rubric) -> RubricRevision:
    revision = RubricRevision(
        id=new_id(Kind.REVISION),
        project_id=rubric.project_id,
        rubric_id=rubric.id,
        number=rubrics.last_number(session, rubric.id) + 1,
        content=content.model_dump(mode="json"),
        content_hash=content.content_hash(),
    )
    session.add(revision)
    session.flush()
    return revision


def _require_runnable(content: domain.Rubric) -> None:
    try:
        checks.validate_rubric(content)
    except checks.InvalidRubric as error:
        names = [criterion.name for criterion in content.criteria]
        field = f"criteria[{names.index(error.criterion)}].{error.field}"
        raise InvalidRubric(str(error), field=field) from error
