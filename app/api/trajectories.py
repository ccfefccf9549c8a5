"""Trajectory evaluations: how often the candidates of a prompt set succeed, how reliably, and each one's outcome."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.api import exports
from app.api.bodies import StrictRoute
from app.api.dependencies import CurrentSettings, Reader, ReadSession, ReadSessions, Writer, WriteSession
from app.api.exports import Format, FormatQuery, Listing
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.api.runs import RunId
from app.schemas.page import Page
from app.schemas.run import RunOut
from app.schemas.trajectory import TrajectoriesIn, TrajectoryOut, TrajectorySuccessOut
from app.services import runs, trajectories
from app.services.prices import price_table

router = APIRouter(prefix="/v1", tags=["results"], route_class=StrictRoute)


@router.post(
    "/trajectory-evaluations", status_code=201, response_model=RunOut, operation_id="create_trajectory_evaluation"
)
def create_trajectory_evaluation(
    body: TrajectoriesIn, caller: Writer, session: WriteSession, once: Once, settings: CurrentSettings
) -> Response:
    """Measure how often trajectories succeed, and how reliably: pass^k, the chance that k trials of a task all do.

    The judge reads each candidate as a whole, every turn and tool call, and rates it from 1 to 10 in both
    presentations. The answer is a run: it is watched, paused and cancelled as any.
    """
    prices = price_table(settings)
    return once(
        lambda: RunOut.of(trajectories.create(session, caller.project_id, body, prices=prices)),
        at="/v1/runs/{id}",
    )


@router.get("/runs/{run_id}/trajectory-success", operation_id="get_trajectory_success")
def get_trajectory_success(run_id: RunId, caller: Reader, session: ReadSession) -> TrajectorySuccessOut:
    """Get what a trajectory evaluation measured: in all, by author and by cohort, beside the known outcomes."""
    return TrajectorySuccessOut(run_id=run_id, metrics=trajectories.metrics(session, caller.project_id, run_id))


@router.get(
    "/runs/{run_id}/trajectories",
    response_model=Page[TrajectoryOut],
    operation_id="list_trajectories",
    responses=exports.RESPONSES,
)
def list_trajectories(
    run_id: RunId,
    caller: Reader,
    session: ReadSession,
    sessions: ReadSessions,
    paging: Paging,
    format_: FormatQuery = Format.JSON,
) -> Response:
    """List or export a trajectory evaluation's trajectories with their outcomes; the ratings are at /scores."""
    run = runs.get(session, caller.project_id, run_id).run
    listing = Listing("trajectories", lambda read, slice_: trajectories.page(read, run, slice_), TrajectoryOut)
    return exports.respond(listing, format_, paging=paging, session=session, sessions=sessions)
