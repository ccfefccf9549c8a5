"""Published checkpoints: one a run, round, kind and step, whoever was first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Checkpoint, CheckpointKind


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    id: str
    step: int
    storage_key: str
    digest: str
    metrics: dict[str, Any]


def latest_checkpoint(session: Session, run_id: str, *, round_: int, kind: CheckpointKind) -> CheckpointRow | None:
    """The checkpoint with the most steps."""
    row = session.execute(
        select(Checkpoint.id, Checkpoint.step, Checkpoint.storage_key, Checkpoint.digest, Checkpoint.metrics)
        .where(Checkpoint.run_id == run_id, Checkpoint.round == round_, Checkpoint.kind == kind)
        .order_by(Checkpoint.step.desc())
        .limit(1)
    ).first()
    return None if row is None else CheckpointRow(*row)
