"""`/v1/runs/{run_id}/scores`: every rating of a run whose judge rates completions one by one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api import exports
from app.api.bodies import StrictRoute
from app.api.dependencies import Reader, ReadSession, ReadSessions
from app.api.exports import Format, FormatQuery, Listing
from app.api.pagination import Paging
from app.api.runs import RunId
from app.repositories import results
from app.schemas.page import Page
from app.schemas.score import ScoreOut
from app.services import runs

router = APIRouter(prefix="/v1/runs", tags=["results"], route_class=StrictRoute)


@router.get("/{run_id}/scores", response_model=Page[ScoreOut], operation_id="list_scores", responses=exports.RESPONSES)
def list_scores(
    run_id: RunId,
    caller: Reader,
    session: ReadSession,
    sessions: ReadSessions,
    paging: Paging,
    judge: Annotated[str | None, Query(max_length=100, description="Only by the judge of this id")] = None,
    format_: FormatQuery = Format.JSON,
) -> Response:
    """List or export every rating of a run with `judge.mode` pointwise, the INVALID ones too.

    Two ratings of one prompt's completions are a verdict: P(the first is better) is the sigmoid of their difference.
    """
    provenance = runs.provenance(session, caller.project_id, run_id)
    listing = Listing("scores", lambda read, slice_: results.scores(read, provenance, judge, slice_), ScoreOut)
    return exports.respond(listing, format_, paging=paging, session=session, sessions=sessions)
