"""`/v1/checkpoints/{checkpoint_id}/scores` and `/v1/runs/{run_id}/rewards`: what a reward model thinks of texts."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api import exports
from app.api.bodies import StrictRoute
from app.api.checkpoints import CheckpointId
from app.api.dependencies import Reader, ReadSession, ReadSessions, Writer, WriteSession
from app.api.exports import Format, FormatQuery, Listing
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.api.runs import RunId
from app.db.models import CompletionSource, Split
from app.repositories import results
from app.repositories.results import CompletionFilter
from app.schemas.page import Page
from app.schemas.run import RunOut
from app.schemas.scoring import RewardOut, ScoringIn
from app.services import runs, scoring

router = APIRouter(prefix="/v1", tags=["results"], route_class=StrictRoute)


@router.post(
    "/checkpoints/{checkpoint_id}/scores", status_code=201, response_model=RunOut, operation_id="create_scores"
)
def create_scores(
    checkpoint_id: CheckpointId, body: ScoringIn, caller: Writer, session: WriteSession, once: Once
) -> Response:
    """Score texts with a trained reward model: conversations that come along, or a prompt set's candidates.

    The answer is a run that scores and does nothing else: it is watched, paused and cancelled as any run, and its
    rewards are read from `/v1/runs/{id}/rewards`. Nothing is cut: what exceeds the model's window has no reward.
    """
    return once(lambda: RunOut.of(scoring.create(session, caller.project_id, checkpoint_id, body)), at="/v1/runs/{id}")


@router.get(
    "/runs/{run_id}/rewards", response_model=Page[RewardOut], operation_id="list_rewards", responses=exports.RESPONSES
)
def list_rewards(
    run_id: RunId,
    caller: Reader,
    session: ReadSession,
    sessions: ReadSessions,
    paging: Paging,
    split: Annotated[Split | None, Query(description="Only of prompts of this split")] = None,
    source: Annotated[CompletionSource | None, Query(description="Only of completions by this author")] = None,
    format_: FormatQuery = Format.JSON,
) -> Response:
    """List or export the reward of every completion of a run, by the ids that its prompts came with."""
    provenance, where = runs.provenance(session, caller.project_id, run_id), CompletionFilter(split, source)
    listing = Listing("rewards", lambda read, slice_: results.rewards(read, provenance, where, slice_), RewardOut)
    return exports.respond(listing, format_, paging=paging, session=session, sessions=sessions)
