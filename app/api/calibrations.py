"""`/v1/calibrations`: how far a judge can be trusted, measured on people's labels, and how it is to be read."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api.bodies import StrictRoute
from app.api.dependencies import Reader, ReadSession, ReadSessions, Writer, WriteSession, path_id
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.api.polling import UNCHANGED, Polling, Wait
from app.db.ids import Kind
from app.db.session import SessionFactory
from app.repositories.runs import RunMark
from app.rlaif.calibration_evidence import CalibrationReport
from app.rlaif.calibration_text import as_markdown, as_text
from app.schemas.calibration import CalibrationIn, CalibrationOut, CalibrationSummaryOut
from app.schemas.page import Page
from app.services import calibration_reports, calibrations

router = APIRouter(prefix="/v1/calibrations", tags=["calibrations"], route_class=StrictRoute)
CalibrationId = Annotated[
    str,
    path_id(Kind.CALIBRATION),
    Path(description="Id of the calibration", examples=["calibration_01m7xk5mgzeyva4mageqj2tqtk"]),
]


@router.post("", status_code=201, response_model=CalibrationOut, operation_id="create_calibration")
def create_calibration(body: CalibrationIn, caller: Writer, session: WriteSession, once: Once) -> Response:
    """Measure a judge, a panel or a cascade on people's labels, and fit how it is to be read.

    It is a run that trains nothing: the judge is asked about every labelled comparison in both orders, workers do it,
    and it is paused, cancelled and retried as `run_id`. A run names the calibration in `recipe.judge.calibration`.
    """
    return once(
        lambda: CalibrationOut.of_row(calibrations.create(session, caller.project_id, body)),
        at="/v1/calibrations/{id}",
    )


@router.get("", operation_id="list_calibrations")
def list_calibrations(
    caller: Reader,
    session: ReadSession,
    paging: Paging,
    judge: Annotated[str | None, Query(max_length=100, description="Only calibrations of this judge's id")] = None,
) -> Page[CalibrationSummaryOut]:
    """List calibrations, newest first, those of canaries among them."""
    found = calibrations.page(session, caller.project_id, paging.slice, judge_id=judge)
    return paging.page(found, CalibrationSummaryOut.of)


@router.get("/{calibration_id}", response_model=CalibrationOut, operation_id="get_calibration", responses=UNCHANGED)
async def get_calibration(
    calibration_id: CalibrationId, caller: Reader, sessions: ReadSessions, poll: Polling, wait: Wait = 0
) -> Response:
    """Get a calibration. With `wait` the answer comes when it has ended, or when the time is up."""
    run_id = await run_in_threadpool(_run_id, sessions, caller.project_id, calibration_id)

    def show(session: Session) -> tuple[CalibrationOut, RunMark]:
        row = calibration_reports.get(session, caller.project_id, calibration_id)
        return CalibrationOut.of_row(row), RunMark(row.run.version, row.run.status)

    return await poll(run_id, wait, show, until_finished=True)


@router.get(
    "/{calibration_id}/report",
    response_model=CalibrationReport,
    operation_id="get_calibration_report",
    responses={
        200: {
            "description": "The report in the format asked for",
            "content": {
                "text/markdown": {"schema": {"type": "string"}},
                "text/plain": {"schema": {"type": "string"}},
            },
        }
    },
)
def get_calibration_report(
    calibration_id: CalibrationId,
    caller: Reader,
    session: ReadSession,
    format_: Annotated[
        Literal["json", "markdown", "text"], Query(alias="format", description="`markdown` and `text` are for people")
    ] = "json",
) -> Response:
    """Get what was measured: agreement with people, calibration, biases and what is missing, each with its interval."""
    report = calibration_reports.measured(calibration_reports.get(session, caller.project_id, calibration_id))
    match format_:
        case "markdown":
            return Response(as_markdown(report), media_type="text/markdown")
        case "text":
            return Response(as_text(report), media_type="text/plain")
        case _:
            return Response(report.model_dump_json(), media_type="application/json")


def _run_id(sessions: SessionFactory, project_id: str, calibration_id: str) -> str:
    with sessions() as session:
        return calibration_reports.get(session, project_id, calibration_id).run.id
