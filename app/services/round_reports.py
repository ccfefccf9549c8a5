"""What a report says of a run's rounds: every policy's figures, which round won, and why the rounds ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.db.models import Evaluation, Run
from app.repositories import results
from app.rlaif.evidence import EvaluationMetrics
from app.rlaif.frontier import FrontierPoint, RoundsOutcome
from app.rlaif.recipe import Recipe
from app.rlaif.rounds import RoundFigures, RoundsConfig, Stopped, best_round, decide, promotions
from app.services.engine.rounds import measured_rounds, open_gates


@dataclass(frozen=True, slots=True)
class Shown:
    """The evaluation that a report is about, which round's it is, and how the rounds went where there are several."""

    evaluation: EvaluationMetrics | None
    round: int
    rounds: RoundsOutcome | None


def shown(session: Session, run: Run) -> Shown:
    """The best round's once the rounds have ended, the last one's until then."""
    config = Recipe.model_validate(run.recipe).rounds
    if config is None:
        last = next(reversed(results.evaluations(session, run.id)), None)
        return Shown(None, 0, None) if last is None else Shown(_metrics(last), last.round, None)
    metrics = {row.round: _metrics(row) for row in measured_rounds(session, run.id)}
    figures = [RoundFigures.of(*item) for item in metrics.items()]
    outcome = _outcome(config, figures)
    if not figures:
        return Shown(None, 0, outcome)
    chosen = figures[-1].round if outcome.best_round is None else outcome.best_round
    found = metrics[chosen]
    if outcome.ended is not None:
        decided = promotions(config, figures, open_gates(metrics))
        found = found.model_copy(update={"promotion": decided[chosen]})
    return Shown(found, chosen, outcome)


def _metrics(row: Evaluation) -> EvaluationMetrics:
    return EvaluationMetrics.model_validate(row.metrics)


def _outcome(config: RoundsConfig, figures: Sequence[RoundFigures]) -> RoundsOutcome:
    decision = decide(config, figures) if figures else None
    ended = decision if isinstance(decision, Stopped) else None
    best = best_round(config, figures) if ended else None
    return RoundsOutcome(
        count=config.count,
        measured=len(figures),
        best_round=None if best is None else best.round,
        ended=ended.reason if ended else None,
        detail=ended.detail if ended else None,
    )


def frontier(session: Session, run: Run) -> list[FrontierPoint]:
    """Every policy that the run has measured, by round and candidate; an endpoint's is no checkpoint of anybody's."""
    measured = [(row, row.checkpoint_id) for row in results.evaluations(session, run.id)]
    points = [
        FrontierPoint.of(_metrics(row), round_=row.round, candidate=row.candidate, checkpoint_id=checkpoint_id)
        for row, checkpoint_id in measured
        if checkpoint_id is not None
    ]
    return sorted(points, key=lambda point: (point.round, point.candidate))
