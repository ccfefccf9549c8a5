"""`/v1/runs/{run_id}/completions`: what was sampled or imported."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api import exports
from app.api.bodies import StrictRoute
from app.api.dependencies import Reader, ReadSession, ReadSessions
from app.api.exports import Format, FormatQuery, Listing
from app.api.pagination import Paging
from app.api.runs import RunId
from app.db.models import CompletionSource, Split
from app.repositories import results
from app.repositories.results import CompletionFilter
from app.schemas.completion import CompletionOut
from app.schemas.page import Page
from app.services import runs

router = APIRouter(prefix="/v1/runs", tags=["results"], route_class=StrictRoute)


@router.get(
    "/{run_id}/completions",
    response_model=Page[CompletionOut],
    operation_id="list_completions",
    responses=exports.RESPONSES,
)
def list_completions(
    run_id: RunId,
    caller: Reader,
    session: ReadSession,
    sessions: ReadSessions,
    paging: Paging,
    split: Annotated[Split | None, Query(description="Only of prompts of this split")] = None,
    source: Annotated[CompletionSource | None, Query(description="Only of this author")] = None,
    format_: FormatQuery = Format.JSON,
) -> Response:
    """List or export a run's completions; a reused stage's come from the run that executed it."""
    provenance, where = runs.provenance(session, caller.project_id, run_id), CompletionFilter(split, source)
    listing = Listing(
        "completions",
        lambda read, slice_: results.completions(read, provenance, where, slice_),
        CompletionOut,
    )
    return exports.respond(listing, format_, paging=paging, session=session, sessions=sessions)
