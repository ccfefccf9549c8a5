"""The end of a round: whether another one follows, and after the last which policy is promoted.

Called under the run's lock, in the transaction that ends the round's evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy.orm import Session

from app.db.models import Evaluation, Run, Stage
from app.repositories import results, stages
from app.repositories.checkpoints import selected_policy, set_promotion
from app.repositories.lineage import run_behind
from app.rlaif.evidence import EvaluationMetrics, Promotion
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.rounds import RoundFigures, RoundsConfig, Stopped, best_round, decide, promotions
from app.services.engine.notices import EventType, emit


class RoundNotMeasured(Exception):
    """Raised when a round's evaluation ended and left none of the policy that the round goes on with."""

    def __init__(self, run_id: str, round_: int) -> None:
        super().__init__(f"round {round_} of run {run_id} has ended without an evaluation of its policy")


def end_round(session: Session, run: Run, stage: Stage) -> None:
    """After a stage: where it ends a round, decide. What follows a stop is skipped. Raises RoundNotMeasured."""
    config = Recipe.model_validate(run.recipe).rounds
    if config is None or stage.kind is not StageKind.EVALUATE:
        return
    measured = measured_rounds(session, run.id)
    figures = [_figures(row) for row in measured]
    if len(figures) != stage.round + 1:
        raise RoundNotMeasured(run.id, stage.round)
    decision = decide(config, figures)
    if isinstance(decision, Stopped):
        _stop(session, run, config, measured, decision)


def measured_rounds(session: Session, run_id: str) -> list[Evaluation]:
    """By round, the evaluation of the policy that the round went on with."""
    rows = {(row.round, row.checkpoint_id): row for row in results.evaluations(session, run_id)}
    found = []
    for round_ in sorted({round_ for round_, _ in rows}):
        trained_in = run_behind(session, run_id, round_=round_, kind=StageKind.POLICY)
        if (row := rows.get((round_, selected_policy(session, trained_in, round_=round_) or ""))) is not None:
            found.append(row)
    return found


def _figures(row: Evaluation) -> RoundFigures:
    return RoundFigures.of(row.round, EvaluationMetrics.model_validate(row.metrics))


def _stop(session: Session, run: Run, config: RoundsConfig, measured: list[Evaluation], decision: Stopped) -> None:
    figures = [_figures(row) for row in measured]
    best = best_round(config, figures)
    stages.skip_pending(session, run.id)
    data: dict[str, Any] = {
        "round": figures[-1].round,
        "reason": decision.reason.value,
        "detail": decision.detail,
        "best_round": None if best is None else best.round,
        "figures": [asdict(each) for each in figures],
    }
    emit(session, run.id, run.project_id, EventType.ROUNDS_STOPPED, data)
    _promote(session, run, config, measured)


def open_gates(metrics: Mapping[int, EvaluationMetrics]) -> dict[int, Promotion]:
    """By round, what its own evaluation says of its policy."""
    return {round_: found.promotion or Promotion(promoted=True, reasons=[]) for round_, found in metrics.items()}


def _promote(session: Session, run: Run, config: RoundsConfig, measured: list[Evaluation]) -> None:
    """Write down of each round's policy what becomes of it; another run's, in a fork, is left as it is."""
    metrics = {row.round: EvaluationMetrics.model_validate(row.metrics) for row in measured}
    decided = promotions(config, [RoundFigures.of(*item) for item in metrics.items()], open_gates(metrics))
    for row in measured:
        trained_in = run_behind(session, run.id, round_=row.round, kind=StageKind.POLICY)
        if trained_in != run.id or row.checkpoint_id is None:
            continue
        found = decided[row.round]
        set_promotion(session, row.checkpoint_id, found)
        type_ = EventType.CHECKPOINT_PROMOTED if found.promoted else EventType.CHECKPOINT_HELD_BACK
        reasons = [reason.model_dump() for reason in found.reasons]
        data = {"checkpoint": row.checkpoint_id, "round": row.round, "reasons": reasons}
        emit(session, run.id, run.project_id, type_, data)
