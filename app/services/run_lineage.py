"""What a run is made of and what it published, by ids, names and digests."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.db.models import Model, PromptSet, Rubric, RubricRevision, Run
from app.repositories import results
from app.repositories.results import Provenance
from app.rlaif.findings import CheckpointLineage, Lineage, ModelLineage, PromptSetLineage, RubricLineage


def lineage(session: Session, run: Run, provenance: Provenance) -> Lineage:
    """Of the run as it stands; its checkpoints are those of the stages that count for it."""
    prompt_set = session.get_one(PromptSet, run.prompt_set_id)
    return Lineage(
        rubric=None if run.rubric_revision_id is None else _rubric(session, run.rubric_revision_id),
        prompt_set=PromptSetLineage(
            id=prompt_set.id,
            name=prompt_set.name,
            digest=prompt_set.digest,
            train_count=prompt_set.train_count,
            held_out_count=prompt_set.held_out_count,
        ),
        base_model=None if run.base_model_id is None else _model(session, run.base_model_id),
        checkpoints=_checkpoints(session, provenance),
        reused_stages={kind: source for (_, kind), source in provenance.reused.items()},
    )


def _model(session: Session, model_id: str) -> ModelLineage:
    model = session.get_one(Model, model_id)
    return ModelLineage(id=model.id, name=model.name, source=model.source, family=model.family, digest=model.digest)


def _rubric(session: Session, revision_id: str) -> RubricLineage:
    revision = session.get_one(RubricRevision, revision_id)
    return RubricLineage(
        rubric_id=revision.rubric_id,
        revision_id=revision.id,
        name=session.get_one(Rubric, revision.rubric_id).name,
        number=revision.number,
        content_hash=revision.content_hash,
    )


def _checkpoints(session: Session, provenance: Provenance) -> list[CheckpointLineage]:
    """Of each stage that counts for this run, what it published."""
    return [
        CheckpointLineage.model_validate(row, from_attributes=True) for row in results.checkpoints(session, provenance)
    ]
