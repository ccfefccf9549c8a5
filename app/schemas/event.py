"""Events as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class EventOut(BaseModel):
    """Something that happened to a run. `id` grows within a run and is the SSE event id."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: int = Field(examples=[4711])
    run_id: str = Field(examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
    type: str = Field(examples=["stage.succeeded"])
    data: dict[str, Any] = Field(examples=[{"stage": "sample", "round": 0}])
    created_at: datetime
