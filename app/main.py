"""create_app(settings): the only place where the parts of the API are wired together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.concurrency import run_in_threadpool

from app import observability
from app.api import (
    annotation_answers,
    annotation_queues,
    answer_sets,
    calibrations,
    canaries,
    checkpoints,
    comparisons,
    completions,
    docs,
    evaluations,
    evaluators,
    events,
    judges,
    models,
    openapi,
    operations,
    pair_quality,
    preferences,
    problems,
    prompt_sets,
    report,
    revisions,
    rewards,
    rubrics,
    runs,
    scores,
    secrets,
    standing_cohorts,
    tasks,
    trajectories,
    trials,
    verdict_cache,
    verdicts,
)
from app.api import keys as api_keys
from app.api.notifications import RunNotifications
from app.config import Settings
from app.db.session import SessionFactory, make_engine, make_read_session_factory, make_session_factory
from app.services import keys
from app.storage import ArtifactStore

ROUTERS = (
    operations.router,
    docs.router,
    api_keys.router,
    secrets.router,
    rubrics.router,
    trials.router,
    prompt_sets.router,
    tasks.router,
    standing_cohorts.router,
    models.router,
    answer_sets.router,
    judges.router,
    verdict_cache.router,
    calibrations.router,
    canaries.router,
    runs.router,
    events.router,
    completions.router,
    revisions.router,
    comparisons.router,
    verdicts.router,
    scores.router,
    rewards.router,
    preferences.router,
    pair_quality.router,
    evaluations.router,
    evaluators.router,
    trajectories.router,
    annotation_queues.router,
    annotation_answers.router,
    report.router,
    checkpoints.router,
)


class PublicWithoutKeys(RuntimeError):
    """The API was to listen on a public address while its database has no active key."""


def create_app(settings: Settings) -> FastAPI:
    """The whole API on one database. Nothing is connected to before the server starts."""
    observability.configure_logging(settings)
    app = FastAPI(title="RLAIF as a service", lifespan=_lifespan, redirect_slashes=False, docs_url=None, redoc_url=None)
    _connect(app, settings)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(
        observability.RequestContext,
        histogram=observability.request_histogram(app.state.registry),
        on_error=problems.internal_error,
    )
    for router in ROUTERS:
        app.include_router(router)
    return app


def _connect(app: FastAPI, settings: Settings) -> None:
    engine = make_engine(settings)
    app.state.settings = settings
    app.state.engine = engine
    app.state.sessions = make_session_factory(engine)
    app.state.read_sessions = make_read_session_factory(engine)
    app.state.notifications = RunNotifications(settings.database_url)
    app.state.store = ArtifactStore(settings.artifacts_dir)
    app.state.registry = CollectorRegistry()
    operations.EngineGauges(app.state.read_sessions).register(app.state.registry)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    await run_in_threadpool(_refuse_open_door, app.state.settings, app.state.read_sessions)
    yield
    await app.state.notifications.close()
    app.state.engine.dispose()


def _refuse_open_door(settings: Settings, sessions: SessionFactory) -> None:
    if _is_loopback(settings.host):
        return
    with sessions() as session:
        if not keys.any_active(session):
            raise PublicWithoutKeys(
                f"refusing to listen on {settings.host} while no API key is active: make one with "
                "`rlaif keys bootstrap`, or set RLAIF_HOST=127.0.0.1"
            )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
