"""What became of a project's stored replies, as clients see it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ForgottenOut(BaseModel):
    """How many replies are gone."""

    model_config = ConfigDict(frozen=True)

    deleted: int = Field(examples=[2400])
