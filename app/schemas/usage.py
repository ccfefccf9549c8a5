"""What a run consumed, as clients see it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.usage import StageUsage, Usage


class UsageOut(BaseModel):
    """Cost by stage and in all. A reused stage cost nothing here."""

    model_config = ConfigDict(frozen=True)

    run_id: str = Field(examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
    stages: list[StageUsage]
    total: Usage
