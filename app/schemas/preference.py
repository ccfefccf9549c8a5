"""Preferences as clients see them, and in the formats that trainers take."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.db.models import Split


class PreferenceOut(BaseModel):
    """What is believed of one comparison."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["preference_01m7xk5mgzeyva4mageqj2tqtk"])
    run_id: str = Field(description="The run that formed it: another one where its stage is reused")
    round: int = Field(examples=[0])
    comparison_id: str = Field(examples=["comparison_01m7xk5mgzeyva4mageqj2tqtk"])
    prompt_id: str = Field(examples=["prompt_01m7xk5mgzeyva4mageqj2tqtk"])
    first_id: str = Field(examples=["completion_01m7xk5mgzeyva4mageqj2tqtk"])
    second_id: str = Field(examples=["completion_01m7xk5mh0f3gs7rhm2jxw8y9q"])
    split: Split
    probability: float | None = Field(description="P(first is better); null without a valid verdict", examples=[0.91])
    weight: float = Field(examples=[1.0])
    drop_reason: str | None = Field(description="Why nothing is trained on it", examples=[None])
    provenance: dict[str, Any] = Field(description="Judges, orders and answers it comes from, or its import")
    created_at: datetime


class TrlPreference(BaseModel):
    """A row of TRL's conversational preference format, which a prompt set takes as it is.

    `probability` is P(chosen is better), above 0.5; what a pair weighs follows from it.
    """

    model_config = ConfigDict(frozen=True)

    prompt: list[dict[str, Any]]
    chosen: list[dict[str, Any]]
    rejected: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    probability: float


class OpenAIInput(BaseModel):
    model_config = ConfigDict(frozen=True)

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    parallel_tool_calls: bool


class OpenAIPreference(BaseModel):
    """A row of OpenAI's preference fine-tuning format."""

    model_config = ConfigDict(frozen=True)

    input: OpenAIInput
    preferred_output: list[dict[str, Any]]
    non_preferred_output: list[dict[str, Any]]
