"""Rubrics and revisions as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.db.models import Rubric as RubricRow
from app.db.models import RubricRevision
from app.rlaif.rubric import Rubric
from app.schemas.names import ResourceName

EXAMPLE_CONTENT: dict[str, JsonValue] = {
    "description": "A helpful answer stays on topic, is polite and brief.",
    "criteria": [
        {
            "name": "on topic",
            "description": "Answers what was asked.",
            "weight": 2.0,
            "check": {"kind": "similarity", "to": "prompt", "full": 0.3},
        },
        {
            "name": "brief",
            "description": "At most forty words.",
            "check": {"kind": "length", "unit": "words", "minimum": 5, "maximum": 40},
        },
    ],
}


class RubricIn(Rubric):
    """A new rubric: its name and the content of its first revision."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "support", **EXAMPLE_CONTENT}]})

    name: ResourceName = Field(description="Unique within the project")

    def content(self) -> Rubric:
        return Rubric(**{field: getattr(self, field) for field in Rubric.model_fields})


class RevisionOut(BaseModel):
    """One immutable revision of a rubric."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["revision_01m7xk5mgzeyva4mageqj2tqtk"])
    rubric_id: str = Field(examples=["rubric_01m7xk5mgzeyva4mageqj2tqtk"])
    number: int = Field(description="Counts from 1 within the rubric", examples=[1])
    content: Rubric = Field(examples=[EXAMPLE_CONTENT])
    content_hash: str = Field(description="SHA-256 of the canonical content: equal content, equal hash")
    created_at: datetime

    @classmethod
    def of(cls, row: RubricRevision) -> Self:
        return cls(
            id=row.id,
            rubric_id=row.rubric_id,
            number=row.number,
            content=Rubric.model_validate(row.content),
            content_hash=row.content_hash,
            created_at=row.created_at,
        )


class RubricOut(BaseModel):
    """A rubric and its newest revision."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["rubric_01m7xk5mgzeyva4mageqj2tqtk"])
    name: str = Field(examples=["support"])
    revision: RevisionOut = Field(description="The newest revision")
    created_at: datetime

    @classmethod
    def of(cls, rubric: RubricRow, revision: RubricRevision) -> Self:
        return cls(id=rubric.id, name=rubric.name, revision=RevisionOut.of(revision), created_at=rubric.created_at)
