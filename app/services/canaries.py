"""Canaries: a calibration that is repeated on a schedule, so that a judge that has changed is seen."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Calibration, Canary, Judge, PromptSet, RubricRevision, Run
from app.db.session import WriteSession
from app.errors import NotFound, ServiceError
from app.repositories import canaries
from app.repositories.canaries import CanaryRow
from app.repositories.pages import Chunk, Slice
from app.rlaif.recipe import Recipe
from app.schemas.canary import CanaryIn
from app.services import calibration_reports, calibrations
from app.services.run_parts import within

log = logging.getLogger(__name__)

NEWEST = 50
"""Measurements that are shown with a canary."""

BATCH = 20
"""Canaries that one pass opens."""


def create(session: WriteSession, project_id: str, request: CanaryIn) -> CanaryRow:
    """Due first when the baseline is `every_hours` old. Raises NotFound, NotMeasured."""
    with within("baseline"):
        baseline = calibration_reports.get(session, project_id, request.baseline)
        measured_at = calibration_reports.measured(baseline).measured_at
    canary = Canary(
        id=new_id(Kind.CANARY),
        project_id=project_id,
        name=request.name,
        baseline_id=baseline.calibration.id,
        every_hours=request.every_hours,
        next_due_at=measured_at + timedelta(hours=request.every_hours),
    )
    session.add(canary)
    session.flush()
    return get(session, project_id, canary.id)


def get(session: Session, project_id: str, canary_id: str) -> CanaryRow:
    """Raises NotFound."""
    if (row := canaries.find(session, project_id, canary_id, newest=NEWEST)) is None:
        raise NotFound.of("canary", canary_id)
    return row


def page(session: Session, project_id: str, slice_: Slice) -> Chunk[Canary]:
    return canaries.page(session, project_id, slice_)


def stop(session: WriteSession, project_id: str, canary_id: str) -> CanaryRow:
    """Nothing is due any more; what runs goes on. Stopping again is fine. Raises NotFound."""
    row = get(session, project_id, canary_id)
    if row.canary.stopped_at is None:
        row.canary.stopped_at = func.now()
        session.flush()
    return row


def due(session: Session) -> list[str]:
    """The ids of canaries that are to be measured now."""
    return list(canaries.due(session, limit=BATCH))


def open_due(session: Session, canary_id: str) -> str | None:
    """Start what is due of one canary, and say when the next is; the id of the new calibration.

    Times that have passed unseen are made up for by one measurement, and while one has not ended there is no other.
    Of several rescuers one does it: the others do not get the row, and find nothing due after it.
    """
    canary = canaries.locked_if_due(session, canary_id)
    if canary is None:
        return None
    due_at, canary.next_due_at = canary.next_due_at, _next(session, canary)
    session.flush()
    if canaries.is_measuring(session, canary_id):
        return None
    try:
        with session.begin_nested():
            return _measure(session, canary, due_at).id
    except ServiceError as error:
        log.warning("canary %s cannot be measured: %s", canary_id, error.detail)
        return None


def _next(session: Session, canary: Canary) -> datetime:
    """The first time of the schedule that is yet to come."""
    now = session.scalars(select(func.now())).one()
    every = timedelta(hours=canary.every_hours)
    return canary.next_due_at + every * ((now - canary.next_due_at) // every + 1)


def _measure(session: Session, canary: Canary, due_at: datetime) -> Calibration:
    """As the baseline was measured, but for stored replies: a judge that has changed must be heard."""
    baseline = session.get_one(Calibration, canary.baseline_id)
    recipe = Recipe.model_validate(session.get_one(Run, baseline.run_id).recipe)
    fresh = recipe.model_copy(update={"judge": recipe.judge.model_copy(update={"cache": False})})
    return calibrations.start(
        WriteSession(session),
        canary.project_id,
        name=f"{canary.name}, {due_at:%Y-%m-%d %H:%M}",
        judge=session.get_one(Judge, baseline.judge_id),
        rubric=session.get_one(RubricRevision, baseline.rubric_revision_id),
        prompt_set=session.get_one(PromptSet, baseline.prompt_set_id),
        recipe=fresh,
        canary=(canary.id, due_at),
    )
