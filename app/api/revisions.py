"""`/v1/runs/{run_id}/revisions`: how a constitutional warm start changed the base model's answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api import exports
from app.api.bodies import StrictRoute
from app.api.dependencies import Reader, ReadSession, ReadSessions
from app.api.exports import Format, FormatQuery, Listing
from app.api.pagination import Paging
from app.api.runs import RunId
from app.db.models import Split
from app.repositories import results
from app.schemas.page import Page
from app.schemas.revision import RevisionOut
from app.services import runs

router = APIRouter(prefix="/v1/runs", tags=["results"], route_class=StrictRoute)


@router.get(
    "/{run_id}/revisions",
    response_model=Page[RevisionOut],
    operation_id="list_revised_answers",
    responses=exports.RESPONSES,
)
def list_revised_answers(
    run_id: RunId,
    caller: Reader,
    session: ReadSession,
    sessions: ReadSessions,
    paging: Paging,
    split: Annotated[Split | None, Query(description="Only of prompts of this split")] = None,
    format_: FormatQuery = Format.JSON,
) -> Response:
    """List or export answers, critiques and revisions; a reused warm start's come from the run that executed it."""
    provenance = runs.provenance(session, caller.project_id, run_id)
    listing = Listing("revisions", lambda read, slice_: results.revisions(read, provenance, split, slice_), RevisionOut)
    return exports.respond(listing, format_, paging=paging, session=session, sessions=sessions)
