"""Ratings as clients see them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.comparison import InvalidReason, Order


class ScoreOut(BaseModel):
    """One judge's rating of one completion in one presentation: `BA` shows criteria and scale the other way round."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["score_01m7xk5mgzeyva4mageqj2tqtk"])
    run_id: str = Field(description="The run that asked: another one where its stage is reused")
    completion_id: str = Field(examples=["completion_01m7xk5mgzeyva4mageqj2tqtk"])
    judge_id: str = Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
    order: Order
    repeat: int = Field(examples=[0])
    evaluator: str = Field(description="Of the recipe, by whose rubric; empty: by the run's own", examples=[""])
    points: float | None = Field(description="1 to 10, the expected value; null when INVALID", examples=[7.4])
    score: float | None = Field(description="The points as -1 to 1", examples=[0.42])
    invalid_reason: InvalidReason | None = Field(examples=[None])
    raw_text: str | None = Field(description="What the judge wrote", examples=["7"])
    prompt_hash: str | None = Field(description="SHA-256 of the question, to the letter")
    prompt_tokens: int = Field(examples=[338])
    completion_tokens: int = Field(examples=[1])
    cost_usd: float = Field(examples=[0.000017])
    latency_s: float = Field(examples=[0.41])
    attempts: int = Field(description="Calls that the rating took", examples=[1])
    cached: bool = Field(description="Whether a stored reply gave it and nobody was asked", examples=[False])
    created_at: datetime
