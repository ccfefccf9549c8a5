"""Measuring a checkpoint again, later and by another judge: a fork of the run that trained it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from app.db.models import Checkpoint, CheckpointKind, Run
from app.db.session import WriteSession
from app.errors import Conflict, ServiceError
from app.repositories.checkpoints import latest_checkpoint
from app.repositories.runs import RunRow
from app.rlaif.prices import PriceTable
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.sections import EvaluateConfig
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
    evaluate = request.evaluate.model_copy(update={"candidate": _candidate(session, trained, request.evaluate)})
    fork = RunIn(
        name=request.name,
        evaluation_judge=request.judge,
        recipe=Recipe(evaluate=evaluate, budget=request.budget, rounds=None),
        fork=ForkIn(run=trained.run_id, from_stage=StageKind.EVALUATE),
        allow_circular_evaluation=request.allow_circular_evaluation,
        allow_same_family=request.allow_same_family,
    )
    with fields_of_an_evaluation():
        return runs.create(
            session, project_id, fork, published=None, store=store, prices=prices, fork_round=trained.round
        )


@contextmanager
def fields_of_an_evaluation() -> Iterator[None]:
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
    if checkpoint.kind is CheckpointKind.WARM_START:
        raise NotEvaluable(
            f"checkpoint {checkpoint_id!r} is a warm start, which its run does not evaluate: name it as `measured` "
            "in POST /v1/evaluations"
        )
    if checkpoint.kind is not CheckpointKind.POLICY:
        raise NotEvaluable(
            f"checkpoint {checkpoint_id!r} is a {checkpoint.kind.value} and answers no prompt: name a policy"
        )
    last = latest_checkpoint(
        session,
        checkpoint.run_id,
        round_=checkpoint.round,
        kind=CheckpointKind.POLICY,
        candidate=checkpoint.candidate,
    )
    if last is not None and last.id != checkpoint_id:
        raise NotEvaluable(
            f"checkpoint {checkpoint_id!r} of step {checkpoint.step} is not what its run ended with: name {last.id!r}"
        )
    return checkpoint


def _candidate(session: Session, checkpoint: Checkpoint, stated: EvaluateConfig) -> int | None:
    """The number of the candidate that the checkpoint is, in a sweep. Raises NotEvaluable for another that is named."""
    swept = Recipe.model_validate(session.get_one(Run, checkpoint.run_id).recipe).sweep is not None
    own = checkpoint.candidate if swept else None
    if stated.candidate not in (None, own):
        raise NotEvaluable(
            f"evaluate.candidate is {stated.candidate}, and checkpoint {checkpoint.id!r} is "
            f"{'of no sweep' if own is None else f'candidate {own}'}: leave it out",
            field="evaluate.candidate",
        )
    return own
