"""Comparisons as clients see them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.db.models import Purpose


class ComparisonOut(BaseModel):
    """Two completions of one prompt: verdicts call the first A and the second B."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["comparison_01m7xk5mgzeyva4mageqj2tqtk"])
    run_id: str = Field(description="The run that made it: another one where its stage is reused")
    round: int = Field(examples=[0])
    purpose: Purpose
    prompt_id: str = Field(examples=["prompt_01m7xk5mgzeyva4mageqj2tqtk"])
    first_id: str = Field(examples=["completion_01m7xk5mgzeyva4mageqj2tqtk"])
    second_id: str = Field(examples=["completion_01m7xk5mh0f3gs7rhm2jxw8y9q"])
    principle: str | None = Field(description="The principle that was put to the judge", examples=[None])
    created_at: datetime
