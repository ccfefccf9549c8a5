"""`/v1/runs/{run_id}/evaluations`: the held-out measurements."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.bodies import StrictRoute
from app.api.dependencies import Reader, ReadSession
from app.api.runs import RunId
from app.schemas.evaluation import EvaluationOut
from app.schemas.page import Page
from app.services import reports

router = APIRouter(prefix="/v1/runs", tags=["results"], route_class=StrictRoute)


@router.get("/{run_id}/evaluations", operation_id="list_evaluations")
def list_evaluations(run_id: RunId, caller: Reader, session: ReadSession) -> Page[EvaluationOut]:
    """List a run's evaluations: the trained policy against the base model on held-out prompts."""
    rows = reports.evaluations(session, caller.project_id, run_id)
    return Page(data=[EvaluationOut.model_validate(row) for row in rows], has_more=False, after=None)
