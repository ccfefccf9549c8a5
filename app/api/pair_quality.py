"""`/v1/runs/{run_id}/pair-quality`: what the pairs are like, before any GPU time is spent on them."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.bodies import StrictRoute
from app.api.dependencies import Reader, ReadSession
from app.api.runs import RunId
from app.schemas.pair_quality import PairQualityOut
from app.services import reports

router = APIRouter(prefix="/v1/runs", tags=["results"], route_class=StrictRoute)


@router.get("/{run_id}/pair-quality", operation_id="get_pair_quality")
def get_pair_quality(run_id: RunId, caller: Reader, session: ReadSession) -> PairQualityOut:
    """Get what the pairs to train on are like: duplicates, length skew, ties, what their surface gives away, warnings.

    With `stop_after: prefer` in the recipe a run ends with it; a fork from `reward_model` goes on to train.
    """
    return reports.pair_quality(session, caller.project_id, run_id)
