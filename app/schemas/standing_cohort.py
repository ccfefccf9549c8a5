"""Standing cohorts as clients send and see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.prompt import Cohort
from app.rlaif.traces import Unusable
from app.schemas.names import ResourceName


class StandingCohortIn(BaseModel):
    """A sample of production's prompts that is to be drawn again and again."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"name": "support desk", "size": 200, "maximum_age_days": 30}]},
    )

    name: ResourceName
    cohort: Cohort = Field("production", description="The cohort that drawn prompts have in reports")
    size: Annotated[int, Field(strict=True, ge=1, le=100_000)] = Field(200, description="Prompts in a draw, at most")
    maximum_age_days: Annotated[int, Field(strict=True, ge=1, le=3650)] | None = Field(
        None, description="Older traces are not drawn; null: any"
    )


class StandingCohortOut(BaseModel):
    """A standing cohort and its newest draw."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["cohort_01m7xk5mgzeyva4mageqj2tqtk"])
    name: str = Field(examples=["support desk"])
    cohort: str = Field(examples=["production"])
    size: int = Field(examples=[200])
    maximum_age_days: int | None = Field(examples=[30])
    prompt_set_id: str | None = Field(
        description="The newest draw; null before the first", examples=["pset_01m7xk5mgzeyva4mageqj2tqtk"]
    )
    refreshed_at: datetime | None
    created_at: datetime


class TraceImportOut(BaseModel):
    """What an upload of traces brought."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="Of the standing cohort", examples=["cohort_01m7xk5mgzeyva4mageqj2tqtk"])
    exchanges: int = Field(description="Found in the upload", examples=[1200])
    added: int = Field(description="Questions that the cohort did not have", examples=[1103])
    known: int = Field(description="Questions that it had, or that the upload holds twice", examples=[71])
    skipped: dict[Unusable, int] = Field(description="Exchanges without use, by reason", examples=[{"no_answer": 26}])


class TraceOut(BaseModel):
    """One question that production was asked, with its newest answer."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["trace_01m7xk5mgzeyva4mageqj2tqtk"])
    messages: list[dict[str, Any]] = Field(examples=[[{"role": "user", "content": "Where is my parcel?"}]])
    tools: list[dict[str, Any]] | None
    response: str | list[dict[str, Any]] = Field(description="A text, or its turns", examples=["On its way."])
    model: str | None = Field(description="Who answered, where the trace says so", examples=["gpt-5"])
    occurred_at: datetime
    created_at: datetime
