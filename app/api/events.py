"""What happened to a run: as pages, and as a stream that no reconnect makes lossy. And the training metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from app.api.bodies import StrictRoute
from app.api.dependencies import Reader, ReadSession, ReadSessions
from app.api.notifications import Notifications, RunNotifications
from app.api.pagination import Paging
from app.api.polling import rung
from app.api.runs import RunId
from app.db.models import Event
from app.db.session import SessionFactory
from app.observability import log
from app.schemas.event import EventOut
from app.schemas.metric import MetricOut
from app.schemas.page import Page
from app.services import runs
from app.services.runs import News, StepMetrics

router = APIRouter(prefix="/v1/runs", tags=["runs"], route_class=StrictRoute)
_BATCH = 200
_KEEPALIVE_S = 10.0
_SSE = "text/event-stream"
LastEventId = Annotated[
    int, Header(alias="Last-Event-ID", ge=0, le=2**63 - 1, description="With SSE: go on behind this event")
]


@router.get(
    "/{run_id}/events",
    response_model=Page[EventOut],
    operation_id="list_events",
    responses={
        200: {"content": {_SSE: {"schema": {"type": "string"}, "example": "event: run.queued\ndata: {}\nid: 1\n\n"}}},
        204: {"description": "With SSE: the run has ended and there is nothing behind `Last-Event-ID`"},
    },
)
async def list_events(
    run_id: RunId,
    caller: Reader,
    sessions: ReadSessions,
    notifications: Notifications,
    paging: Paging,
    request: Request,
    last_event_id: LastEventId = 0,
) -> Response:
    """List a run's events in order; with `Accept: text/event-stream`, follow them until the run ends.

    The stream can break at any time: connect again with the id of the last event as `Last-Event-ID`, as browsers do
    by themselves, and no event is lost or comes twice. Once there is nothing left to come the answer is 204.
    """
    if _SSE not in request.headers.get("accept", ""):
        page = await run_in_threadpool(_page, sessions, caller.project_id, run_id, paging)
        return Response(page.model_dump_json(), media_type="application/json")
    first = await run_in_threadpool(_news, sessions, caller.project_id, run_id, last_event_id)
    if first.status.terminal and not first.events:
        return Response(status_code=204)
    stream = _follow(sessions, notifications, caller.project_id, run_id, after=last_event_id)
    return EventSourceResponse(stream, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})


@router.get("/{run_id}/metrics", operation_id="list_metrics")
def list_metrics(run_id: RunId, caller: Reader, session: ReadSession, paging: Paging) -> Page[MetricOut]:
    """List the metrics of every training step, by stage, candidate and step."""
    return paging.page(runs.metric_page(session, caller.project_id, run_id, paging.slice), _metric)


async def _follow(
    sessions: SessionFactory, notifications: RunNotifications, project_id: str, run_id: str, *, after: int
) -> AsyncIterator[bytes]:
    """Events until the run's last one. Holds no database connection while it waits."""
    with notifications.subscribe(run_id) as bell:
        while True:
            bell.clear()
            try:
                news = await run_in_threadpool(_news, sessions, project_id, run_id, after)
            except SQLAlchemyError as error:  # the client connects again, where it is told 503
                log.warning("event_stream_ended", run_id=run_id, cause=type(error).__name__)
                return
            for event in news.events:
                yield _sse(event)
                after = event.id
            if len(news.events) == _BATCH:
                continue
            if news.status.terminal:
                return
            if not await rung(bell, timeout_s=_KEEPALIVE_S):
                yield KEEPALIVE_COMMENT


def _sse(event: Event) -> bytes:
    data = EventOut.model_validate(event).model_dump_json()
    return format_sse_event(data_str=data, event=event.type, id=str(event.id))


def _news(sessions: SessionFactory, project_id: str, run_id: str, after: int) -> News:
    with sessions() as session:
        return runs.news(session, project_id, run_id, after=after, limit=_BATCH)


def _page(sessions: SessionFactory, project_id: str, run_id: str, paging: Paging) -> Page[EventOut]:
    with sessions() as session:
        return paging.page(runs.event_page(session, project_id, run_id, paging.slice), EventOut.model_validate)


def _metric(row: StepMetrics) -> MetricOut:
    return MetricOut(
        stage=row.stage.kind,
        round=row.stage.round,
        candidate=row.point.candidate,
        step=row.point.step,
        data=row.point.data,
        created_at=row.point.created_at,
    )
