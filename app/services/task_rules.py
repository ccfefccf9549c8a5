"""What must hold of the capability tasks that a recipe names, before anything is spent."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.errors import InvalidInput, NotFound
from app.rlaif.recipe import Recipe, StageKind
from app.services import tasks


class TaskMissing(InvalidInput):
    """Raised when a recipe names a task that its project does not have."""


class TaskRepeated(InvalidInput):
    """Raised when a recipe names a task twice, by its id and by its name perhaps."""


def require_tasks(session: Session, project_id: str, recipe: Recipe) -> None:
    """Raises TaskMissing, TaskRepeated."""
    if StageKind.EVALUATE not in recipe.stages():
        return
    seen: dict[str, str] = {}
    for place, name in enumerate(recipe.evaluate.tasks or ()):
        try:
            found = tasks.find(session, project_id, name)
        except NotFound as error:
            raise TaskMissing(
                f"{error.detail}: make it with POST /v1/tasks, or name one that GET /v1/tasks lists",
                field=f"recipe.evaluate.tasks[{place}]",
            ) from error
        if found.id in seen:
            raise TaskRepeated(
                f"{name!r} and {seen[found.id]!r} are one task: name it once", field=f"recipe.evaluate.tasks[{place}]"
            )
        seen[found.id] = name
