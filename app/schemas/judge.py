"""Judges as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.db.models import Judge
from app.rlaif.judges import JudgeSpec
from app.schemas.names import ResourceName

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)


class JudgeIn(BaseModel):
    """A new judge."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"name": "checks", "spec": {"kind": "checks"}},
                {
                    "name": "gpt",
                    "spec": {
                        "kind": "openai",
                        "family": "gpt",
                        "base_url": "https://api.openai.com/v1",
                        "model": "gpt-4.1-mini",
                        "secret": "openai",
                        "top_logprobs": 20,
                    },
                },
            ]
        },
    )

    name: ResourceName = Field(description="Unique within the project")
    spec: JudgeSpec


class JudgeOut(BaseModel):
    """A registered judge."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
    name: str = Field(examples=["gpt"])
    kind: str = Field(examples=["openai"])
    family: str = Field(description="A judge of another family should evaluate", examples=["gpt"])
    spec: JudgeSpec
    model_id: str | None = Field(description="The registered model that a local judge runs")
    checkpoint_id: str | None = Field(description="The trained reward model that judges")
    answer_set_id: str | None = Field(description="The answers that a replay judge gives again")
    created_at: datetime

    @classmethod
    def of(cls, row: Judge) -> Self:
        return cls(
            id=row.id,
            name=row.name,
            kind=row.kind,
            family=row.family,
            spec=_SPEC.validate_python(row.spec),
            model_id=row.model_id,
            checkpoint_id=row.checkpoint_id,
            answer_set_id=row.answer_set_id,
            created_at=row.created_at,
        )
