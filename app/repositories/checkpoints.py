"""Published checkpoints: one a run, round, kind and step, whoever was first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db.models import Checkpoint, CheckpointKind
from app.rlaif.evidence import Promotion


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    id: str
    run_id: str
    step: int
    storage_key: str
    digest: str
    metrics: dict[str, Any]


def latest_checkpoint(
    session: Session, run_id: str, *, round_: int, kind: CheckpointKind, candidate: int = 0
) -> CheckpointRow | None:
    """The checkpoint with the most steps; of a sweep's policies one candidate's."""
    row = session.execute(
        select(
            Checkpoint.id,
            Checkpoint.run_id,
            Checkpoint.step,
            Checkpoint.storage_key,
            Checkpoint.digest,
            Checkpoint.metrics,
        )
        .where(
            Checkpoint.run_id == run_id,
            Checkpoint.round == round_,
            Checkpoint.kind == kind,
            Checkpoint.candidate == candidate,
        )
        .order_by(Checkpoint.step.desc())
        .limit(1)
    ).first()
    return None if row is None else CheckpointRow(*row)


def selected_policy(session: Session, run_id: str, *, round_: int) -> str | None:
    """The id of the policy that a round went on with: the selected candidate, or the only one."""
    query = select(Checkpoint.id).where(
        Checkpoint.run_id == run_id, Checkpoint.round == round_, Checkpoint.kind == CheckpointKind.POLICY
    )
    order = (Checkpoint.selected.desc().nulls_last(), Checkpoint.candidate, Checkpoint.step.desc())
    return session.scalar(query.order_by(*order).limit(1))


def digests(session: Session, ids: Collection[str]) -> dict[str, str]:
    """The digests of some checkpoints, by their ids."""
    rows = session.execute(select(Checkpoint.id, Checkpoint.digest).where(Checkpoint.id.in_(ids)))
    return {row.id: row.digest for row in rows}


def set_selected(session: Session, run_id: str, *, round_: int, checkpoint_id: str) -> None:
    """Of the policies of a round, note with which it goes on."""
    query = update(Checkpoint).where(
        Checkpoint.run_id == run_id, Checkpoint.round == round_, Checkpoint.kind == CheckpointKind.POLICY
    )
    session.execute(query.values(selected=Checkpoint.id == checkpoint_id))


def set_promotion(session: Session, checkpoint_id: str, found: Promotion) -> None:
    """Write what its own run's evaluation decided."""
    reasons = [reason.model_dump() for reason in found.reasons]
    query = update(Checkpoint).where(Checkpoint.id == checkpoint_id)
    session.execute(query.values(promoted=found.promoted, promotion_reasons=reasons))


def storage_key_of(session: Session, project_id: str, checkpoint_id: str) -> str:
    """Where a checkpoint lies. Raises NoResultFound."""
    query = select(Checkpoint.storage_key).where(Checkpoint.project_id == project_id, Checkpoint.id == checkpoint_id)
    return session.scalars(query).one()
