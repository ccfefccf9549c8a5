"""Metric points as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.recipe import StageKind


class MetricOut(BaseModel):
    """The metrics of one optimiser step of one training stage."""

    model_config = ConfigDict(frozen=True)

    stage: StageKind
    round: int = Field(examples=[0])
    candidate: int = Field(description="Of a sweep; else 0", examples=[0])
    step: int = Field(examples=[40])
    data: dict[str, Any] = Field(examples=[{"loss": 0.612, "learning_rate": 0.0001}])
    created_at: datetime
