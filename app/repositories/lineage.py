"""Which run's rows stand for a stage: its own, or those of the run that it reuses."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Stage, StageStatus
from app.rlaif.recipe import StageKind


def run_behind(session: Session, run_id: str, *, round_: int, kind: StageKind) -> str:
    """The run that executed a stage. A run that reuses a reusing run's stage is followed to the first."""
    while (source := _source(session, run_id, round_, kind)) is not None:
        run_id = source
    return run_id


def _source(session: Session, run_id: str, round_: int, kind: StageKind) -> str | None:
    return session.scalar(
        select(Stage.source_run_id).where(
            Stage.run_id == run_id,
            Stage.round == round_,
            Stage.kind == kind,
            Stage.status == StageStatus.REUSED,
        )
    )
