"""`/v1/evaluators`: the rubrics that come with the service, for rating single answers."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.bodies import StrictRoute
from app.api.dependencies import Reader
from app.schemas.evaluator import EvaluatorOut
from app.schemas.page import Page
from app.services import evaluators

router = APIRouter(prefix="/v1", tags=["evaluators"], route_class=StrictRoute)


@router.get("/evaluators", operation_id="list_evaluators")
def list_evaluators(caller: Reader) -> Page[EvaluatorOut]:
    """List the built-in evaluators, all on one page.

    A recipe names them in `evaluate.evaluators`. To replace one, POST its rubric, changed, to /v1/rubrics and name the
    revision there.
    """
    found = [EvaluatorOut.of(each) for each in evaluators.built_in().values()]
    return Page[EvaluatorOut](data=found, has_more=False, after=None)
