"""Inserting what has a name that is unique within its project."""

from __future__ import annotations

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db.models import AnnotationQueue, AnswerSet, Judge, Model, PromptSet, Rubric, Secret, StandingCohort, Task
from app.errors import Conflict


class NameTaken(Conflict):
    """Raised when the project already has an object of this kind and name."""


def insert_named(
    session: Session,
    row: AnnotationQueue | AnswerSet | Judge | Model | PromptSet | Rubric | Secret | StandingCohort | Task,
) -> None:
    """Raises NameTaken; the transaction is then over."""
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        diagnosis = getattr(error.orig, "diag", None)
        if getattr(diagnosis, "constraint_name", None) != f"uq_{row.__tablename__}_project_id_name":
            raise
        kind = row.__tablename__.removesuffix("s").replace("_", " ")
        raise NameTaken(
            f"the name {row.name!r} is that of another {kind} of this project: choose another one", field="name"
        ) from error
