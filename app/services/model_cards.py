"""The model card of a checkpoint as it stands today: its training, and every evaluation since."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.db.models import Checkpoint, Judge, Model, Run
from app.repositories import results
from app.rlaif.evidence import EvaluationMetrics, Promotion, Reason
from app.rlaif.model_card import CardEvaluation, CardFacts, model_card
from app.services import checkpoints


def get(session: Session, project_id: str, checkpoint_id: str) -> str:
    """Markdown with front matter. Raises NotFound."""
    checkpoint = checkpoints.get(session, project_id, checkpoint_id)
    run = session.get_one(Run, checkpoint.run_id)
    base = session.get_one(Model, run.base_model_id)
    return model_card(
        CardFacts(
            kind=checkpoint.kind.value,
            steps=checkpoint.step,
            base_family=base.family,
            base_digest=base.digest,
            architecture=base.architecture,
            settings={**run.recipe[checkpoint.kind.value], "seed": run.recipe["seed"]},
            metrics=checkpoint.metrics,
            lineage=checkpoint.lineage,
            name=f"{run.name}, {checkpoint.kind.value.replace('_', ' ')}",
            places={
                "checkpoint": checkpoint.id,
                "run": run.id,
                "round": str(checkpoint.round),
                "base model": base.name,
            },
            evaluations=_evaluations(session, checkpoint),
            promotion=_promotion(checkpoint),
        )
    )


def _evaluations(session: Session, checkpoint: Checkpoint) -> tuple[CardEvaluation, ...]:
    return tuple(
        CardEvaluation(
            judge=session.get_one(Judge, row.judge_id).name,
            run_id=row.run_id,
            metrics=EvaluationMetrics.model_validate(row.metrics),
        )
        for row in results.evaluations_of(session, checkpoint.id)
    )


def _promotion(checkpoint: Checkpoint) -> Promotion | None:
    if checkpoint.promoted is None:
        return None
    reasons = [Reason.model_validate(reason) for reason in checkpoint.promotion_reasons or ()]
    return Promotion(promoted=checkpoint.promoted, reasons=reasons)
