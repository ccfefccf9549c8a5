"""Calibrations as the API reads them and as runs use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db.models import Calibration, Canary, Run, RunStatus
from app.repositories.pages import Chunk, Slice, chunk
from app.rlaif.instruments import Fitted, read


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """A calibration and how its run stands."""

    calibration: Calibration
    run: Run


def get(session: Session, project_id: str, calibration_id: str) -> CalibrationRow | None:
    query = (
        select(Calibration, Run)
        .join(Run, Run.id == Calibration.run_id)
        .where(Calibration.project_id == project_id, Calibration.id == calibration_id)
        .execution_options(populate_existing=True)
    )
    row = session.execute(query).one_or_none()
    return None if row is None else CalibrationRow(*row)


def page(session: Session, project_id: str, slice_: Slice, *, judge_id: str | None) -> Chunk[Calibration]:
    """Newest first."""
    query = select(Calibration).where(Calibration.project_id == project_id)
    if judge_id is not None:
        query = query.where(Calibration.judge_id == judge_id)
    return chunk(session, query, slice_, by=Calibration.id, newest_first=True)


def of_run(session: Session, run_id: str) -> Calibration:
    return session.scalars(select(Calibration).where(Calibration.run_id == run_id)).one()


def fitted_by(session: Session, calibration_id: str) -> Fitted:
    """What a calibration that has its report fitted."""
    report: Mapping[str, Any] = session.scalars(
        select(Calibration.report).where(Calibration.id == calibration_id, Calibration.report.is_not(None))
    ).one()
    return read(report["fitted"])


def store(session: Session, run_id: str, *, report: dict[str, Any], drift: dict[str, Any] | None) -> None:
    """What a calibration measured, in the transaction that holds its shard."""
    session.execute(
        update(Calibration).where(Calibration.run_id == run_id).values(report=report, drift=drift),
        execution_options={"synchronize_session": False},
    )


def latest_drift(session: Session, baseline_id: str) -> dict[str, Any] | None:
    """Of the newest canary measurement that is compared with a calibration; None without one."""
    query = (
        select(Calibration.drift)
        .join(Canary, Canary.id == Calibration.canary_id)
        .join(Run, Run.id == Calibration.run_id)
        .where(Canary.baseline_id == baseline_id, Calibration.drift.is_not(None), Run.status == RunStatus.SUCCEEDED)
        .order_by(Calibration.due_at.desc())
        .limit(1)
    )
    return session.scalar(query)
