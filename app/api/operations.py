"""`/healthz`, `/readyz`, `/metrics`: for an operator's probes, without a key and without a word about any tenant."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from app.api.bodies import OpenRoute
from app.api.dependencies import ReadSession
from app.db.session import SessionFactory
from app.schemas.operations import Health, Readiness
from app.services import operations

router = APIRouter(tags=["operations"], route_class=OpenRoute)


@router.get("/healthz", operation_id="healthz")
async def healthz() -> Health:
    """Say that the process is alive. Touches nothing: a slow database never gets a healthy process killed."""
    return Health(status="alive")


@router.get("/readyz", operation_id="readyz")
def readyz(session: ReadSession) -> Readiness:
    """Say whether the database answers and stands at this code's migration; 503 until it does."""
    return Readiness(status="ready", migration=operations.require_ready(session))


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=Response,
    responses={
        200: {"description": "Prometheus text format", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
)
def metrics(request: Request) -> Response:
    """Prometheus metrics: request latencies, queue depths, outbox depth and age."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)


class EngineGauges(Collector):
    """Read from the database when scraped. While it is down, `rlaif_database_up` is 0 and the others are absent."""

    def __init__(self, sessions: SessionFactory) -> None:
        self._sessions = sessions

    def register(self, registry: CollectorRegistry) -> None:
        registry.register(self)

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("rlaif_database_up", "Whether the database answered this scrape")
        try:
            with self._sessions() as session:
                depths, outbox = operations.queue_depths(session), operations.outbox_depth(session)
        except SQLAlchemyError:
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        shards = GaugeMetricFamily("rlaif_shards", "Shards that are queued or running", labels=["queue", "status"])
        for depth in depths:
            shards.add_metric([depth.queue, depth.status.value], depth.shards)
        yield shards
        yield GaugeMetricFamily("rlaif_outbox_messages", "Messages not yet sent to the broker", outbox.messages)
        yield GaugeMetricFamily("rlaif_outbox_oldest_seconds", "Age of the oldest unsent message", outbox.oldest_s)
