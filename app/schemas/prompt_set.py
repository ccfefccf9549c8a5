"""Prompt sets and prompts as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from app.db.models import Prompt as PromptRow
from app.db.models import PromptSet
from app.rlaif.prompt import Prompt
from app.schemas.names import ResourceName

HeldOut = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
HELD_OUT = Field(0.1, strict=True, description="Share of the prompts without a `split` that is held out")


class PromptSetIn(BaseModel):
    """A new prompt set small enough for one request. Larger ones are uploaded as JSONL."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "name": "questions",
                    "prompts": [
                        {"messages": [{"role": "user", "content": "What is salt?"}], "split": "train"},
                        {"messages": [{"role": "user", "content": "What is rain?"}], "split": "held_out"},
                    ],
                }
            ]
        },
    )

    name: ResourceName = Field(description="Unique within the project")
    prompts: Annotated[tuple[Prompt, ...], Field(min_length=1, max_length=100_000)]
    held_out: HeldOut = HELD_OUT


class PromptSetOut(BaseModel):
    """A prompt set without its prompts."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["pset_01m7xk5mgzeyva4mageqj2tqtk"])
    name: str = Field(examples=["questions"])
    train_count: int = Field(examples=[270])
    held_out_count: int = Field(examples=[30])
    cohorts: dict[str, int] = Field(description="Prompts in each cohort", examples=[{"helpfulness": 300}])
    digest: str = Field(description="SHA-256 over the prompts in their order: equal content, equal digest")
    created_at: datetime

    @classmethod
    def of(cls, row: PromptSet) -> Self:
        return cls(
            id=row.id,
            name=row.name,
            train_count=row.train_count,
            held_out_count=row.held_out_count,
            cohorts=row.cohorts,
            digest=row.digest,
            created_at=row.created_at,
        )


class PromptOut(BaseModel):
    """One prompt, in the shape in which it can be uploaded again."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="The author's own id", examples=["kites-1"])
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    cohort: str = Field(examples=["helpfulness"])
    split: str = Field(examples=["train"])
    reference: str | None
    criteria: list[dict[str, Any]]
    candidates: list[str | list[dict[str, Any]]]
    preferences: list[dict[str, Any]]
    authors: list[str | None]
    annotations: list[dict[str, Any]]
    outcomes: list[bool | None]

    @classmethod
    def of(cls, row: PromptRow) -> Self:
        return cls(
            id=row.external_id,
            messages=row.messages,
            tools=row.tools,
            cohort=row.cohort,
            split=row.split,
            reference=row.reference,
            criteria=row.criteria,
            candidates=row.candidates,
            preferences=row.preferences,
            authors=row.authors,
            annotations=row.annotations,
            outcomes=row.outcomes,
        )
