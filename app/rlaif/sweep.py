"""The candidates of a sweep: one policy for each combination of the values that a run lists."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

MOST_CANDIDATES = 32


class SweepConfig(BaseModel):
    """Which settings of the policy take which values. Every combination is trained, evaluated and compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: Annotated[
        dict[str, Annotated[list[JsonValue], Field(min_length=1, max_length=MOST_CANDIDATES)]],
        Field(min_length=1, max_length=8),
    ] = Field(
        description="Values by the name of a setting of recipe.policy",
        examples=[{"beta": [0.05, 0.1], "learning_rate": [1e-6, 3e-6]}],
    )
