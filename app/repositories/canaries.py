"""Canaries and what they measured. Whether one is due is decided by the database's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.models import Calibration, Canary, Run, RunStatus
from app.repositories.calibrations import CalibrationRow
from app.repositories.pages import Chunk, Slice, chunk

_DUE = (Canary.stopped_at.is_(None), Canary.next_due_at <= func.now())
_ENDED = tuple(status for status in RunStatus if status.terminal)


@dataclass(frozen=True, slots=True)
class CanaryRow:
    """A canary and its newest measurements, the newest first."""

    canary: Canary
    measurements: tuple[CalibrationRow, ...]


def find(session: Session, project_id: str, canary_id: str, *, newest: int) -> CanaryRow | None:
    canary = get(session, project_id, canary_id)
    return None if canary is None else CanaryRow(canary, _measurements(session, canary_id, newest))


def get(session: Session, project_id: str, canary_id: str) -> Canary | None:
    return session.scalar(select(Canary).where(Canary.project_id == project_id, Canary.id == canary_id))


def page(session: Session, project_id: str, slice_: Slice) -> Chunk[Canary]:
    """Newest first."""
    return chunk(
        session, select(Canary).where(Canary.project_id == project_id), slice_, by=Canary.id, newest_first=True
    )


def due(session: Session, *, limit: int) -> Sequence[str]:
    """The ids of canaries that are to be measured now, the longest overdue first."""
    return session.scalars(select(Canary.id).where(*_DUE).order_by(Canary.next_due_at).limit(limit)).all()


def locked_if_due(session: Session, canary_id: str) -> Canary | None:
    """The canary, if it still is to be measured and nobody else is about to."""
    query = select(Canary).where(Canary.id == canary_id, *_DUE).with_for_update(skip_locked=True, key_share=True)
    return session.scalar(query.execution_options(populate_existing=True))


def is_measuring(session: Session, canary_id: str) -> bool:
    """Whether a measurement has not ended."""
    query = select(Calibration.id).join(Run, Run.id == Calibration.run_id)
    open_ = query.where(Calibration.canary_id == canary_id, Run.status.not_in(_ENDED))
    return session.scalar(select(open_.exists())) or False


def _measurements(session: Session, canary_id: str, newest: int) -> tuple[CalibrationRow, ...]:
    query = select(Calibration, Run).join(Run, Run.id == Calibration.run_id).where(Calibration.canary_id == canary_id)
    rows = session.execute(query.order_by(Calibration.due_at.desc()).limit(newest))
    return tuple(CalibrationRow(*row) for row in rows)
