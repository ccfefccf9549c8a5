"""`/v1/canaries`: judges that are measured again on a schedule, so that one that has changed is seen."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import Reader, ReadSession, Writer, WriteSession, path_id
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.db.ids import Kind
from app.schemas.canary import CanaryIn, CanaryOut, CanarySummaryOut
from app.schemas.page import Page
from app.services import canaries

router = APIRouter(prefix="/v1/canaries", tags=["calibrations"], route_class=StrictRoute)
CanaryId = Annotated[
    str, path_id(Kind.CANARY), Path(description="Id of the canary", examples=["canary_01m7xk5mgzeyva4mageqj2tqtk"])
]


@router.post("", status_code=201, response_model=CanaryOut, operation_id="create_canary")
def create_canary(body: CanaryIn, caller: Writer, session: WriteSession, once: Once) -> Response:
    """Repeat a calibration every so many hours and compare: has the judge behind the name changed?

    Each measurement is a calibration run of its own, with the baseline's budget, and asks the judge anew.
    """
    return once(lambda: CanaryOut.of_row(canaries.create(session, caller.project_id, body)), at="/v1/canaries/{id}")


@router.get("", operation_id="list_canaries")
def list_canaries(caller: Reader, session: ReadSession, paging: Paging) -> Page[CanarySummaryOut]:
    """List canaries, newest first."""
    return paging.page(canaries.page(session, caller.project_id, paging.slice), CanarySummaryOut.of)


@router.get("/{canary_id}", operation_id="get_canary")
def get_canary(canary_id: CanaryId, caller: Reader, session: ReadSession) -> CanaryOut:
    """Get a canary: whether the judge has drifted from the baseline, why, and what was measured when."""
    return CanaryOut.of_row(canaries.get(session, caller.project_id, canary_id))


@router.post("/{canary_id}:stop", operation_id="stop_canary")
def stop_canary(canary_id: CanaryId, caller: Writer, session: WriteSession) -> CanaryOut:
    """Stop a canary. What runs goes on, nothing new is begun, and its history stays."""
    return CanaryOut.of_row(canaries.stop(session, caller.project_id, canary_id))
