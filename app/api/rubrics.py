"""`/v1/rubrics`: what "better" means."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import NameFilter, Reader, ReadSession, Writer, WriteSession, path_id
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.db.ids import Kind
from app.rlaif.rubric import Rubric
from app.schemas.page import Page
from app.schemas.rubric import EXAMPLE_CONTENT, RevisionOut, RubricIn, RubricOut
from app.schemas.rubric_review import LintOut, RubricDiffOut
from app.services import rubrics
from app.services.rubrics import LatestRubric

router = APIRouter(prefix="/v1/rubrics", tags=["rubrics"], route_class=StrictRoute)
RevisionBody = Annotated[Rubric, Body(examples=[EXAMPLE_CONTENT])]
RubricId = Annotated[
    str,
    path_id(Kind.RUBRIC),
    Path(description="Id of the rubric", examples=["rubric_01m7xk5mgzeyva4mageqj2tqtk"]),
]
Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="The revision's number", examples=[1])]


@router.post("", status_code=201, response_model=RubricOut, operation_id="create_rubric")
def create_rubric(body: RubricIn, caller: Writer, session: WriteSession, once: Once) -> Response:
    """Create a rubric with its first revision.

    Every criterion is checked now: a pattern that is not RE2, or a JSON schema whose evaluation could explode,
    is refused here and not in the middle of a run.
    """
    return once(
        lambda: _out(rubrics.create(session, caller.project_id, name=body.name, content=body.content())),
        at="/v1/rubrics/{id}",
    )


@router.post(":lint", operation_id="lint_rubric")
def lint_rubric(body: RevisionBody, caller: Writer) -> LintOut:
    """Name the criteria that a judge cannot apply as they stand, and say why and how to mend them. Stores nothing.

    Vague, compound, contradictory and unmeasurable criteria, duplicates, degrees without anchors, wording that rewards
    length, a weight that leaves the others nothing to decide, templates that nobody filled. No model is asked.
    """
    return LintOut.of(rubrics.findings(body))


@router.get("", operation_id="list_rubrics")
def list_rubrics(caller: Reader, session: ReadSession, paging: Paging, name: NameFilter = None) -> Page[RubricOut]:
    """List rubrics, newest first, each with its newest revision."""
    return paging.page(rubrics.page(session, caller.project_id, paging.slice, name=name), _out)


@router.get("/{rubric_id}", operation_id="get_rubric")
def get_rubric(rubric_id: RubricId, caller: Reader, session: ReadSession) -> RubricOut:
    """Get a rubric with its newest revision."""
    return _out(rubrics.get(session, caller.project_id, rubric_id))


@router.post("/{rubric_id}/revisions", status_code=201, response_model=RevisionOut, operation_id="create_revision")
def create_revision(
    rubric_id: RubricId, body: RevisionBody, caller: Writer, session: WriteSession, once: Once
) -> Response:
    """Add a revision. Content equal to an existing revision's answers that revision: nothing is made twice."""
    return once(
        lambda: RevisionOut.of(rubrics.revise(session, caller.project_id, rubric_id, content=body)),
        at=f"/v1/rubrics/{rubric_id}/revisions",
    )


@router.get("/{rubric_id}/revisions", operation_id="list_revisions")
def list_revisions(rubric_id: RubricId, caller: Reader, session: ReadSession, paging: Paging) -> Page[RevisionOut]:
    """List a rubric's revisions, newest first."""
    return paging.page(rubrics.revisions(session, caller.project_id, rubric_id, paging.slice), RevisionOut.of)


@router.get("/{rubric_id}/revisions/{number}", operation_id="get_revision")
def get_revision(
    rubric_id: RubricId,
    number: Number,
    caller: Reader,
    session: ReadSession,
) -> RevisionOut:
    """Get one revision by its number."""
    return RevisionOut.of(rubrics.get_revision(session, caller.project_id, rubric_id, number))


@router.get("/{rubric_id}/revisions/{number}/lint", operation_id="lint_revision")
def lint_revision(rubric_id: RubricId, number: Number, caller: Reader, session: ReadSession) -> LintOut:
    """What the linter says of a stored revision."""
    return LintOut.of(rubrics.revision_findings(session, caller.project_id, rubric_id, number))


@router.get("/{rubric_id}/revisions/{number}/diff", operation_id="diff_revisions")
def diff_revisions(
    rubric_id: RubricId,
    number: Number,
    caller: Reader,
    session: ReadSession,
    against: Annotated[
        int | None,
        Query(ge=1, le=2**31 - 1, description="The earlier revision's number; the one before if absent", examples=[1]),
    ] = None,
) -> RubricDiffOut:
    """What changed from an earlier revision to this one, field by field, and in texts word by word."""
    found = rubrics.revision_diff(session, caller.project_id, rubric_id, number, against=against)
    return RubricDiffOut.of(found.before, found.after, found.changes)


def _out(latest: LatestRubric) -> RubricOut:
    return RubricOut.of(latest.rubric, latest.revision)
