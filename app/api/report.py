"""`/v1/runs/{run_id}/report` and `/usage`: what was achieved, how far to believe it, what it cost."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import HTMLResponse

from app.api.bodies import StrictRoute
from app.api.dependencies import Reader, ReadSession
from app.api.runs import RunId
from app.report_page import CONTENT_SECURITY_POLICY, as_html
from app.rlaif.report import Report
from app.rlaif.report_text import as_markdown, as_text
from app.schemas.usage import UsageOut
from app.services import reports

router = APIRouter(prefix="/v1/runs", tags=["results"], route_class=StrictRoute)


class ReportFormat(StrEnum):
    JSON = "json"
    MARKDOWN = "markdown"
    TEXT = "text"
    HTML = "html"


@router.get(
    "/{run_id}/report",
    response_model=Report,
    operation_id="get_report",
    responses={
        200: {
            "description": "The report in the format asked for",
            "content": {
                "text/markdown": {"schema": {"type": "string"}},
                "text/plain": {"schema": {"type": "string"}},
                "text/html": {"schema": {"type": "string", "description": "One self-contained page with plots"}},
            },
        }
    },
)
def get_report(
    run_id: RunId,
    caller: Reader,
    session: ReadSession,
    format_: Annotated[
        ReportFormat, Query(alias="format", description="All but `json` are for people; `html` has plots")
    ] = ReportFormat.JSON,
) -> Response:
    """Get the evidence: the win rate with its interval, the caveats, the judges' figures, the cost, the lineage.

    It can be read at any time; what was not measured yet is null.
    """
    report = reports.get(session, caller.project_id, run_id)
    match format_:
        case ReportFormat.MARKDOWN:
            return Response(as_markdown(report), media_type="text/markdown")
        case ReportFormat.TEXT:
            return Response(as_text(report), media_type="text/plain")
        case ReportFormat.HTML:
            return HTMLResponse(as_html(report), headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY})
        case ReportFormat.JSON:
            return Response(report.model_dump_json(), media_type="application/json")


@router.get("/{run_id}/usage", operation_id="get_usage")
def get_usage(run_id: RunId, caller: Reader, session: ReadSession) -> UsageOut:
    """Get what the run consumed, by stage and in all."""
    return reports.usage(session, caller.project_id, run_id)
