"""What must hold of the people whose answers a run listens to."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.orm import Session

from app.db.models import RubricRevision
from app.errors import InvalidInput
from app.repositories import annotation_queues
from app.rlaif.blending import CalibratedOnTheSame, require_apart
from app.rlaif.recipe import Recipe, StageKind

_FIELD = "recipe.prefer.people.queue"


class PeopleRefused(InvalidInput):
    """Raised when a run names an annotation queue whose answers it cannot use."""


def require_people(
    session: Session,
    project_id: str,
    recipe: Recipe,
    *,
    rubric: RubricRevision | None,
    calibration_ids: Collection[str],
) -> None:
    """`calibration_ids` are those that the run's judge and gates stand on. Raises PeopleRefused."""
    people = recipe.prefer.people
    if people is None or StageKind.PREFER not in recipe.stages():
        return
    queue = annotation_queues.get(session, project_id, people.queue)
    if queue is None:
        raise PeopleRefused(f"annotation queue {people.queue!r} does not exist in this project", field=_FIELD)
    if rubric is not None and rubric.id != queue.rubric_revision_id:
        raise PeopleRefused(
            f"people of queue {queue.id!r} answer by rubric revision {queue.rubric_revision_id!r}, and the run is "
            f"judged by {rubric.id!r}: name a queue that asks the same question",
            field=_FIELD,
        )
    for source in annotation_queues.queues_behind(session, calibration_ids):
        try:
            require_apart(queue.id, calibrated_on=source)
        except CalibratedOnTheSame as error:
            raise PeopleRefused(str(error), field=_FIELD) from error
