"""`/v1/runs/{run_id}/verdicts`: every answer of every judge, the INVALID ones too."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api import exports
from app.api.bodies import StrictRoute
from app.api.dependencies import Reader, ReadSession, ReadSessions
from app.api.exports import Format, FormatQuery, Listing
from app.api.pagination import Paging
from app.api.runs import RunId
from app.db.models import Purpose
from app.repositories import results
from app.repositories.results import VerdictFilter
from app.rlaif.comparison import Answer
from app.schemas.page import Page
from app.schemas.verdict import VerdictOut
from app.services import runs

router = APIRouter(prefix="/v1/runs", tags=["results"], route_class=StrictRoute)


@router.get(
    "/{run_id}/verdicts", response_model=Page[VerdictOut], operation_id="list_verdicts", responses=exports.RESPONSES
)
def list_verdicts(
    run_id: RunId,
    caller: Reader,
    session: ReadSession,
    sessions: ReadSessions,
    paging: Paging,
    purpose: Annotated[Purpose | None, Query(description="Only on comparisons for this purpose")] = None,
    judge: Annotated[str | None, Query(max_length=100, description="Only by the judge of this id")] = None,
    answer: Annotated[Answer | None, Query(description="Only this answer")] = None,
    format_: FormatQuery = Format.JSON,
) -> Response:
    """List or export every verdict, in the comparison's own numbering, with what the judge wrote and what it cost."""
    provenance = runs.provenance(session, caller.project_id, run_id)
    where = VerdictFilter(purpose, judge, answer)
    listing = Listing("verdicts", lambda read, slice_: results.verdicts(read, provenance, where, slice_), VerdictOut)
    return exports.respond(listing, format_, paging=paging, session=session, sessions=sessions)
