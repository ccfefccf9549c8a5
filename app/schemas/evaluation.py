"""Evaluations as clients see them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.evidence import EvaluationMetrics


class EvaluationOut(BaseModel):
    """The held-out measurement of a policy checkpoint by a judge."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["evaluation_01m7xk5mgzeyva4mageqj2tqtk"])
    run_id: str = Field(examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
    round: int = Field(examples=[0])
    checkpoint_id: str = Field(examples=["checkpoint_01m7xk5mgzeyva4mageqj2tqtk"])
    judge_id: str = Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
    metrics: EvaluationMetrics
    created_at: datetime
