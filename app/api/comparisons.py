"""`/v1/runs/{run_id}/comparisons`: what was put to the judges."""

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
from app.schemas.comparison import ComparisonOut
from app.schemas.page import Page
from app.services import runs

router = APIRouter(prefix="/v1/runs", tags=["results"], route_class=StrictRoute)


@router.get(
    "/{run_id}/comparisons",
    response_model=Page[ComparisonOut],
    operation_id="list_comparisons",
    responses=exports.RESPONSES,
)
def list_comparisons(
    run_id: RunId,
    caller: Reader,
    session: ReadSession,
    sessions: ReadSessions,
    paging: Paging,
    purpose: Annotated[Purpose | None, Query(description="Only for this purpose")] = None,
    format_: FormatQuery = Format.JSON,
) -> Response:
    """List or export a run's comparisons; a reused stage's come from the run that executed it."""
    provenance = runs.provenance(session, caller.project_id, run_id)
    listing = Listing(
        "comparisons",
        lambda read, slice_: results.comparisons(read, provenance, purpose, slice_),
        ComparisonOut,
    )
    return exports.respond(listing, format_, paging=paging, session=session, sessions=sessions)
