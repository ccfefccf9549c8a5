"""Completions as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.db.models import CompletionSource, Split


class CompletionOut(BaseModel):
    """One response to one prompt."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["completion_01m7xk5mgzeyva4mageqj2tqtk"])
    run_id: str = Field(description="The run that made it: another one where its stage is reused")
    round: int = Field(examples=[0])
    candidate: int = Field(description="Which candidate of a sweep wrote it; else 0", examples=[0])
    split: Split
    source: CompletionSource
    prompt_id: str = Field(examples=["prompt_01m7xk5mgzeyva4mageqj2tqtk"])
    position: int = Field(description="Counts from 0 within prompt and source", examples=[2])
    text: str = Field(description="Of a trajectory its transcript", examples=["Tides follow the moon. Happy to help!"])
    turns: list[dict[str, Any]] | None = Field(description="The chat messages of a trajectory", examples=[None])
    finish_reason: str = Field(description="stop, length or imported", examples=["stop"])
    prompt_tokens: int | None = Field(examples=[21])
    tokens: int | None = Field(examples=[11])
    seed: int | None = Field(examples=[7043214096254131])
    reward: float | None = Field(description="The reward model's score, where it was asked", examples=[0.71])
    reward_spread: float | None = Field(description="Standard deviation of an ensemble's members", examples=[None])
    created_at: datetime
