"""Measuring a checkpoint again, later and by another judge: a fork of the run that trained it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from app.db.models import Checkpoint, CheckpointKind
from app.db.session import WriteSession
from app.errors import Conflict, ServiceError
from app.repositories.checkpoints import latest_checkpoint
from app.repositories.runs import RunRow
from app.rlaif.prices import PriceTable
from app.rlaif.recipe import Recipe, StageKind
from app.schemas.evaluation import EvaluationIn
from app.schemas.run import ForkIn, RunIn
from app.services import checkpoints, runs
from app.storage import ArtifactStore


class NotEvaluable(Conflict):
    """Raised when a checkpoint is no policy, or not the one that its run ended with."""


def create(
    session: WriteSession,
    project_id: str,
    checkpoint_id: str,
    request: EvaluationIn,
    *,
    store: ArtifactStore,
    prices: PriceTable,
) -> RunRow:
    """The queued run that measures. Raises NotFound, NotEvaluable, and what runs.create raises."""
    trained = _policy(session, project_id, checkpoint_id)
    fork = RunIn(
        name=request.name,
        evaluation_judge=request.judge,
        recipe=Recipe(evaluate=request.evaluate, budget=request.budget, rounds=None),
        fork=ForkIn(run=trained.run_id, from_stage=StageKind.EVALUATE),
        allow_circular_evaluation=request.allow_circular_evaluation,
    )
    with _fields_of_this_request():
        return runs.create(
            session, project_id, fork, published=None, store=store, prices=prices, fork_round=trained.round
        )


@contextmanager
def _fields_of_this_request() -> Iterator[None]:
    """An error about the fork names the field that the client sent."""
    try:
        yield
    except ServiceError as error:
        if error.field is not None:
            error.field = "judge" if error.field == "evaluation_judge" else error.field.removeprefix("recipe.")
        raise


def _policy(session: Session, project_id: str, checkpoint_id: str) -> Checkpoint:
    """The checkpoint, which is the policy that its run's round ended with."""
    checkpoint = checkpoints.get(session, project_id, checkpoint_id)
    if checkpoint.kind is not CheckpointKind.POLICY:
        raise NotEvaluable(
            f"checkpoint {checkpoint_id!r} is a {checkpoint.kind.value} and answers no prompt: name a policy"
        )
    last = latest_checkpoint(session, checkpoint.run_id, round_=checkpoint.round, kind=CheckpointKind.POLICY)
    if last is not None and last.id != checkpoint_id:
        raise NotEvaluable(
            f"checkpoint {checkpoint_id!r} of step {checkpoint.step} is not what its run ended with: name {last.id!r}"
        )
    return checkpoint
