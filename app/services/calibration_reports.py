"""A calibration and what it measured, once it has."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.errors import Conflict, NotFound
from app.repositories import calibrations
from app.repositories.calibrations import CalibrationRow
from app.rlaif.calibration_evidence import CalibrationReport


class NotMeasured(Conflict):
    """Raised when a calibration's report is needed and its run has not succeeded."""


def get(session: Session, project_id: str, calibration_id: str) -> CalibrationRow:
    """Raises NotFound."""
    if (row := calibrations.get(session, project_id, calibration_id)) is None:
        raise NotFound.of("calibration", calibration_id)
    return row


def measured(row: CalibrationRow) -> CalibrationReport:
    """Raises NotMeasured."""
    if row.calibration.report is None:
        raise NotMeasured(
            f"calibration {row.calibration.id!r} has no report: its run {row.run.id!r} is {row.run.status}; wait for "
            f"it with GET /v1/calibrations/{row.calibration.id}?wait=60, or read why it stopped"
        )
    return CalibrationReport.model_validate(row.calibration.report)
