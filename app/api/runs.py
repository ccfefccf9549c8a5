"""`/v1/runs`: start the loop, watch it cheaply, steer it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy.orm import Session

from app.api.bodies import StrictRoute
from app.api.dependencies import (
    CurrentSettings,
    Reader,
    ReadSession,
    Store,
    Writer,
    WriteSession,
    path_id,
)
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.api.polling import UNCHANGED, Polling, Wait
from app.db.ids import Kind
from app.db.models import RunKind, RunStatus
from app.repositories.runs import RunMark
from app.rlaif.estimate import Estimate
from app.schemas.page import Page
from app.schemas.run import ResumeIn, RunIn, RunOut, RunSummaryOut
from app.services import estimates, run_parts, runs
from app.services.prices import price_table

router = APIRouter(prefix="/v1", tags=["runs"], route_class=StrictRoute)
RunId = Annotated[
    str, path_id(Kind.RUN), Path(description="Id of the run", examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
]


@router.post("/runs", status_code=201, response_model=RunOut, operation_id="create_run")
def create_run(
    body: RunIn, caller: Writer, session: WriteSession, once: Once, settings: CurrentSettings, store: Store
) -> Response:
    """Start a run: sample, judge, form preferences, train, evaluate.

    Rubric, prompt set, base model and judges are named by id or sent along; what is sent along is made in the same
    transaction, so a refused run leaves nothing behind. A `fork` goes on from another run's stage without repeating
    what came before it.
    """
    published = run_parts.prepare(body, settings, store)
    prices = price_table(settings)
    return once(
        lambda: RunOut.of(
            runs.create(session, caller.project_id, body, published=published, store=store, prices=prices)
        ),
        at="/v1/runs/{id}",
    )


@router.post("/runs:estimate", operation_id="estimate_run")
def estimate_run(body: RunIn, caller: Writer, session: WriteSession, settings: CurrentSettings) -> Estimate:
    """Estimate what a run would take, before anything is spent: calls, tokens, money and time, by stage and in all.

    The body is that of `POST /v1/runs`, and what would refuse the run refuses the estimate; nothing is stored. Calls
    are counted as the run makes them: completions that are yet to be sampled are taken to be all different, and replies
    that the cache may hold are not deducted. What nobody can know yet, such as the time of a first run, is null.
    """
    published = run_parts.prepare(body, settings, None)
    found = estimates.get(session, caller.project_id, body, published=published, settings=settings)
    session.rollback()
    return found


@router.get("/runs", operation_id="list_runs")
def list_runs(
    caller: Reader,
    session: ReadSession,
    paging: Paging,
    status: Annotated[list[RunStatus] | None, Query(description="Only runs in one of these statuses")] = None,
    kind: Annotated[RunKind, Query(description="What the runs are for")] = RunKind.PIPELINE,
) -> Page[RunSummaryOut]:
    """List runs, newest first."""
    found = runs.page(session, caller.project_id, paging.slice, kind=kind, statuses=status or ())
    return paging.page(found, RunSummaryOut.model_validate)


@router.get("/runs/{run_id}", response_model=RunOut, operation_id="get_run", responses=UNCHANGED)
async def get_run(run_id: RunId, caller: Reader, poll: Polling, wait: Wait = 0) -> Response:
    """Get a run with its stages: how far, how fast, how long still, at what cost.

    Polling is cheap: send the `ETag` back as `If-None-Match` and get 304 while nothing has changed. With `wait` the
    answer comes as soon as something does; without `If-None-Match` that is the next change from now on.
    """
    return await poll(run_id, wait, lambda session: _shown(session, caller.project_id, run_id))


@router.post("/runs/{run_id}:cancel", operation_id="cancel_run")
def cancel_run(run_id: RunId, caller: Writer, session: WriteSession) -> RunOut:
    """Cancel a run. It ends `cancelled` within seconds, once whoever works on it has stopped; asking again is fine."""
    return RunOut.of(runs.cancel(session, caller.project_id, run_id))


@router.post("/runs/{run_id}:pause", operation_id="pause_run")
def pause_run(run_id: RunId, caller: Writer, session: WriteSession) -> RunOut:
    """Pause a run. What runs now is given back without counting as an attempt, and what is done is kept."""
    return RunOut.of(runs.pause(session, caller.project_id, run_id))


@router.post("/runs/{run_id}:resume", operation_id="resume_run")
def resume_run(run_id: RunId, caller: Writer, session: WriteSession, body: ResumeIn | None = None) -> RunOut:
    """Go on with a paused run, with a higher budget where that was the reason."""
    return RunOut.of(runs.resume(session, caller.project_id, run_id, budget=body.budget if body else None))


@router.post("/runs/{run_id}:retry", operation_id="retry_run")
def retry_run(run_id: RunId, caller: Writer, session: WriteSession) -> RunOut:
    """Go on with a failed run where it failed. Nothing that succeeded is repeated.

    Where judging failed, the questions that the judge's endpoint left without an answer (INVALID for the reason
    `server` or `timeout`) are asked again; the event says how many. What they have cost stays counted.
    """
    return RunOut.of(runs.retry(session, caller.project_id, run_id))


def _shown(session: Session, project_id: str, run_id: str) -> tuple[RunOut, RunMark]:
    run = RunOut.of(runs.get(session, project_id, run_id))
    return run, RunMark(run.version, run.status)
