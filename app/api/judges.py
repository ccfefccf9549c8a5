"""`/v1/judges`: AI annotators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import CurrentSettings, NameFilter, Reader, ReadSession, Writer, WriteSession, path_id
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.db.ids import Kind
from app.schemas.endpoint import EndpointOut
from app.schemas.judge import JudgeIn, JudgeOut
from app.schemas.page import Page
from app.services import judges

router = APIRouter(prefix="/v1/judges", tags=["judges"], route_class=StrictRoute)
JudgeId = Annotated[
    str, path_id(Kind.JUDGE), Path(description="Id of the judge", examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
]


@router.post("", status_code=201, response_model=JudgeOut, operation_id="create_judge")
def create_judge(
    body: JudgeIn, caller: Writer, session: WriteSession, once: Once, settings: CurrentSettings
) -> Response:
    """Register a judge: programmatic checks, a provider's endpoint, a local model, a trained reward model, stored
    answers, or several judges as a panel or a cascade.

    An endpoint must have a public address, unless the operator allows its network; its secret must be bound to its
    host, and goes over https alone, unless the operator allows its network.
    """
    judges.require_address(body.spec, settings)
    return once(
        lambda: JudgeOut.of(judges.create(session, caller.project_id, name=body.name, spec=body.spec)),
        at="/v1/judges/{id}",
    )


@router.get("", operation_id="list_judges")
def list_judges(caller: Reader, session: ReadSession, paging: Paging, name: NameFilter = None) -> Page[JudgeOut]:
    """List judges, newest first."""
    return paging.page(judges.page(session, caller.project_id, paging.slice, name=name), JudgeOut.of)


@router.get("/{judge_id}", operation_id="get_judge")
def get_judge(judge_id: JudgeId, caller: Reader, session: ReadSession) -> JudgeOut:
    """Get a judge."""
    return JudgeOut.of(judges.get(session, caller.project_id, judge_id))


@router.get("/{judge_id}/endpoint", operation_id="get_judge_endpoint")
def get_judge_endpoint(judge_id: JudgeId, caller: Reader, session: ReadSession) -> EndpointOut:
    """Get how the endpoint stands that a judge calls: limits, calls in flight, holds, circuit, recent errors.

    Judges that share address, model and secret share it too. 409 for a judge that calls no endpoint.
    """
    spec, shared = judges.endpoint(session, caller.project_id, judge_id)
    return EndpointOut.of(judge_id, spec, shared)
