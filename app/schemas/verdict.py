"""Verdicts as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.db.models import Purpose
from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.questions import Side


class NoteOut(BaseModel):
    """What a judge remarked of one turn of one of the two completions."""

    model_config = ConfigDict(frozen=True)

    side: Side
    turn: int = Field(description="Counts from 1", examples=[3])
    note: str = Field(examples=["Books the flight before the price was confirmed."])


class VerdictOut(BaseModel):
    """One judge's answer in one presentation order, in the comparison's own numbering whatever the order."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["verdict_01m7xk5mgzeyva4mageqj2tqtk"])
    run_id: str = Field(description="The run that asked: another one where its stage is reused")
    comparison_id: str = Field(examples=["comparison_01m7xk5mgzeyva4mageqj2tqtk"])
    purpose: Purpose = Field(description="What the comparison is for")
    judge_id: str = Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
    order: Order
    repeat: int = Field(examples=[0])
    criterion: str = Field(description="What was judged alone; empty for the whole rubric", examples=[""])
    weight: float = Field(description="What the criterion counts in the whole", examples=[1.0])
    answer: Answer
    probability: float | None = Field(description="P(first is better); null when INVALID", examples=[0.83])
    invalid_reason: InvalidReason | None = Field(examples=[None])
    raw_text: str | None = Field(description="What the judge wrote", examples=["A"])
    prompt_hash: str | None = Field(description="SHA-256 of the question, to the letter")
    prompt_tokens: int = Field(examples=[338])
    completion_tokens: int = Field(examples=[1])
    cost_usd: float = Field(examples=[0.000017])
    latency_s: float = Field(examples=[0.41])
    attempts: int = Field(description="Calls that the answer took", examples=[1])
    cached: bool = Field(description="Whether a stored reply gave it and nobody was asked", examples=[False])
    saved_usd: float = Field(description="What that reply cost when it was paid for", examples=[0.0])
    scores: dict[str, Any] | None = Field(description="Per criterion, where the judge gives them", examples=[None])
    notes: list[NoteOut] | None = Field(description="On single turns of trajectories", examples=[None])
    created_at: datetime
