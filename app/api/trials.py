"""`/v1/trials`: a rubric and a judge tried on a pair, and golden examples as the rubric's unit tests."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from sqlalchemy.orm import Session

from app.api.bodies import StrictRoute
from app.api.dependencies import CurrentSettings, Reader, Writer, WriteSession, path_id
from app.api.idempotency import Once
from app.api.polling import UNCHANGED, Polling, Wait
from app.api.rubrics import Number, RubricId
from app.db.ids import Kind
from app.repositories.runs import RunMark
from app.schemas.trial import GoldenTestIn, TrialIn, TrialOut
from app.services import trials

router = APIRouter(prefix="/v1", tags=["trials"], route_class=StrictRoute)
TrialId = Annotated[
    str, path_id(Kind.RUN), Path(description="Id of the trial's run", examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
]


@router.post(
    "/rubrics/{rubric_id}/revisions/{number}/trials",
    status_code=201,
    response_model=TrialOut,
    operation_id="create_trial",
)
def create_trial(
    rubric_id: RubricId,
    number: Number,
    body: TrialIn,
    caller: Writer,
    session: WriteSession,
    once: Once,
    settings: CurrentSettings,
) -> Response:
    """Try a rubric revision and a judge on one pair, in both presentation orders.

    The answer holds, for each order, the messages that were sent, the raw reply, what was read from it, tokens, cost,
    latency and attempts. It is a run: asked for by workers, bounded by its budget, and cancelled like one.
    """
    return once(
        lambda: TrialOut.of(
            trials.create(session, caller.project_id, rubric_id, number, request=body, settings=settings)
        ),
        at="/v1/trials/{id}",
    )


@router.post(
    "/rubrics/{rubric_id}/revisions/{number}:test",
    status_code=201,
    response_model=TrialOut,
    operation_id="check_golden_examples",
)
def check_golden_examples(
    rubric_id: RubricId,
    number: Number,
    body: GoldenTestIn,
    caller: Writer,
    session: WriteSession,
    once: Once,
    settings: CurrentSettings,
) -> Response:
    """Run the revision's golden examples as its unit tests: does this judge, by this rubric, know what is better?

    An example is passed by the expected answer in both presentation orders. The trial says of each whether it was, and
    why not: wrong, inconsistent, or without a valid answer.
    """
    return once(
        lambda: TrialOut.of(
            trials.create_test(session, caller.project_id, rubric_id, number, request=body, settings=settings)
        ),
        at="/v1/trials/{id}",
    )


@router.get("/trials/{trial_id}", response_model=TrialOut, operation_id="get_trial", responses=UNCHANGED)
async def get_trial(
    trial_id: TrialId, caller: Reader, poll: Polling, settings: CurrentSettings, wait: Wait = 0
) -> Response:
    """Get a trial: every answer so far. With `wait` the answer comes when it has ended, or when the time is up."""

    def show(session: Session) -> tuple[TrialOut, RunMark]:
        trial = trials.get(session, caller.project_id, trial_id, settings=settings)
        return TrialOut.of(trial), RunMark(trial.run.run.version, trial.run.run.status)

    return await poll(trial_id, wait, show, until_finished=True)
