"""Evaluations: a run's held-out measurements, and measuring a checkpoint again by another judge."""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.api.bodies import StrictRoute
from app.api.checkpoints import CheckpointId
from app.api.dependencies import CurrentSettings, Reader, ReadSession, Store, Writer, WriteSession
from app.api.idempotency import Once
from app.api.runs import RunId
from app.schemas.evaluation import EvaluationIn, EvaluationOut, MeasureIn
from app.schemas.page import Page
from app.schemas.run import RunOut
from app.services import evaluations, measuring, reports
from app.services.prices import price_table

router = APIRouter(prefix="/v1", tags=["results"], route_class=StrictRoute)


@router.get("/runs/{run_id}/evaluations", operation_id="list_evaluations")
def list_evaluations(run_id: RunId, caller: Reader, session: ReadSession) -> Page[EvaluationOut]:
    """List a run's evaluations: the trained policy against the base model on held-out prompts."""
    rows = reports.evaluations(session, caller.project_id, run_id)
    return Page(data=[EvaluationOut.model_validate(row) for row in rows], has_more=False, after=None)


@router.post("/evaluations", status_code=201, response_model=RunOut, operation_id="measure")
def measure(
    body: MeasureIn, caller: Writer, session: WriteSession, once: Once, settings: CurrentSettings, store: Store
) -> Response:
    """Measure a model, a checkpoint or an endpoint against another, on any prompt set, without training anything.

    Both answer the held-out prompts, and the judge compares the answers in both orders. An endpoint is a judge of kind
    openai or anthropic whose model answers the prompts itself: its limits, price and budget hold as for any judge.
    """
    prices = price_table(settings)
    return once(
        lambda: RunOut.of(measuring.create(session, caller.project_id, body, store=store, prices=prices)),
        at="/v1/runs/{id}",
    )


@router.post(
    "/checkpoints/{checkpoint_id}/evaluations",
    status_code=201,
    response_model=RunOut,
    operation_id="create_evaluation",
)
def create_evaluation(
    checkpoint_id: CheckpointId,
    body: EvaluationIn,
    caller: Writer,
    session: WriteSession,
    once: Once,
    settings: CurrentSettings,
    store: Store,
) -> Response:
    """Measure a policy again, by another judge or under other gates.

    The answer is a run that reuses all that trained the checkpoint and evaluates alone: it is watched, paused and
    cancelled as any run, and its evaluation and report are its own. Whether the checkpoint is promoted stays as the run
    decided that trained it.
    """
    prices = price_table(settings)
    return once(
        lambda: RunOut.of(
            evaluations.create(session, caller.project_id, checkpoint_id, body, store=store, prices=prices)
        ),
        at="/v1/runs/{id}",
    )
