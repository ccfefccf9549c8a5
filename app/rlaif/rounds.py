"""How many rounds a run has, and when it stops before the last: each starts from the policy of the one before."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class RoundsConfig(BaseModel):
    """Rounds of sample, judge, train and evaluate. A run stops early where going on does not pay or goes too far."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: Annotated[int, Field(strict=True, ge=2, le=20)] = Field(description="At most so many rounds")
    minimum_improvement: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] = Field(
        0.0, description="By how much a round's held-out win rate against the base model must exceed the best before it"
    )
    maximum_kl: Annotated[float, Field(strict=True, gt=0, le=1e6, allow_inf_nan=False)] | None = Field(
        None, description="Nats a held-out completion by which the policy may differ from the base model"
    )
    maximum_length_ratio: Annotated[float, Field(strict=True, ge=1, le=100, allow_inf_nan=False)] | None = Field(
        None, description="How many times as long as the base model's the policy's held-out completions may be"
    )
