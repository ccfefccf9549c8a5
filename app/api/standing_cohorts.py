"""`/v1/standing-cohorts`: what production is asked, to be measured on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import CurrentSettings, NameFilter, Reader, ReadSession, Writer, WriteSession, path_id
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.api.uploads import ReceivedBody, accepts
from app.db.ids import Kind
from app.rlaif.traces import TraceFormat
from app.schemas.page import Page
from app.schemas.standing_cohort import StandingCohortIn, StandingCohortOut, TraceImportOut, TraceOut
from app.services import standing_cohorts

router = APIRouter(prefix="/v1/standing-cohorts", tags=["standing cohorts"], route_class=StrictRoute)
JSONL = "application/jsonl"
StandingCohortId = Annotated[
    str,
    path_id(Kind.STANDING_COHORT),
    Path(description="Id of the standing cohort", examples=["cohort_01m7xk5mgzeyva4mageqj2tqtk"]),
]
_LINE = (
    '{"messages": [{"role": "user", "content": "Where is my parcel?"}, '
    '{"role": "assistant", "content": "On its way."}], "model": "gpt-5"}\n'
)


@router.post("", status_code=201, response_model=StandingCohortOut, operation_id="create_standing_cohort")
def create_standing_cohort(body: StandingCohortIn, caller: Writer, session: WriteSession, once: Once) -> Response:
    """Create a standing cohort: upload production's traces to it, and draw prompt sets of them to measure on."""
    return once(
        lambda: StandingCohortOut.model_validate(standing_cohorts.create(session, caller.project_id, body)),
        at="/v1/standing-cohorts/{id}",
    )


@router.get("", operation_id="list_standing_cohorts")
def list_standing_cohorts(
    caller: Reader, session: ReadSession, paging: Paging, name: NameFilter = None
) -> Page[StandingCohortOut]:
    """List standing cohorts, newest first."""
    found = standing_cohorts.page(session, caller.project_id, paging.slice, name=name)
    return paging.page(found, StandingCohortOut.model_validate)


@router.get("/{standing_cohort_id}", operation_id="get_standing_cohort")
def get_standing_cohort(
    standing_cohort_id: StandingCohortId, caller: Reader, session: ReadSession
) -> StandingCohortOut:
    """Get a standing cohort and the prompt set that was last drawn of it."""
    found = standing_cohorts.get(session, caller.project_id, standing_cohort_id)
    return StandingCohortOut.model_validate(found)


@router.post(
    "/{standing_cohort_id}/traces",
    status_code=201,
    response_model=TraceImportOut,
    operation_id="upload_traces",
    dependencies=[accepts(JSONL, "application/x-ndjson", "application/x-jsonlines", "application/octet-stream")],
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSONL: {"schema": {"type": "string"}, "example": _LINE}},
        }
    },
)
def upload_traces(
    standing_cohort_id: StandingCohortId,
    upload: ReceivedBody,
    caller: Writer,
    session: WriteSession,
    once: Once,
    settings: CurrentSettings,
    format_: Annotated[
        TraceFormat,
        Query(
            alias="format",
            description="`openai`: lines with `messages`, or with `request` and `response`; `otel`: OTLP JSON, or "
            "spans by the GenAI conventions since 1.37",
        ),
    ] = TraceFormat.OPENAI,
) -> Response:
    """Upload production's exchanges as JSON lines, plain or with `Content-Encoding: gzip`.

    An exchange that cannot serve (no answer, an image) is counted by its reason. A question that the cohort has keeps
    its newest answer, so the same upload twice changes nothing. Of an upload with lines of another format nothing is
    stored, and the first 100 of them are named.
    """

    def work() -> TraceImportOut:
        with upload.content() as content:
            found = standing_cohorts.take_in(
                session,
                caller.project_id,
                standing_cohort_id,
                content=content,
                format_=format_,
                max_line=settings.max_line_bytes,
                max_total=settings.max_upload_bytes,
            )
        return TraceImportOut(id=standing_cohort_id, **asdict(found))

    return once(work, at="/v1/standing-cohorts/{id}/traces")


@router.get("/{standing_cohort_id}/traces", operation_id="list_traces")
def list_traces(
    standing_cohort_id: StandingCohortId, caller: Reader, session: ReadSession, paging: Paging
) -> Page[TraceOut]:
    """List a standing cohort's traces, newest first."""
    found = standing_cohorts.trace_page(session, caller.project_id, standing_cohort_id, paging.slice)
    return paging.page(found, TraceOut.model_validate)


@router.post("/{standing_cohort_id}:refresh", operation_id="refresh_standing_cohort")
def refresh_standing_cohort(
    standing_cohort_id: StandingCohortId, caller: Writer, session: WriteSession
) -> StandingCohortOut:
    """Draw a prompt set of the traces that are young enough.

    A draw is stable: a prompt stays in it until it is too old. Where nothing changed, the prompt set is the same.
    """
    found = standing_cohorts.refresh(session, caller.project_id, standing_cohort_id)
    return StandingCohortOut.model_validate(found)


@router.delete("/{standing_cohort_id}", status_code=204, operation_id="delete_standing_cohort")
def delete_standing_cohort(standing_cohort_id: StandingCohortId, caller: Writer, session: WriteSession) -> None:
    """Delete a standing cohort with all its traces. Prompt sets that were drawn of it stay."""
    standing_cohorts.forget(session, caller.project_id, standing_cohort_id)
