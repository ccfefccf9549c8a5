"""What an operator's probes read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Health(BaseModel):
    """The process answers."""

    status: Literal["alive"] = Field(examples=["alive"])


class Readiness(BaseModel):
    """The database answers, with the tables that this code needs."""

    status: Literal["ready"] = Field(examples=["ready"])
    migration: str = Field(description="The migration the database stands at", examples=["0001"])
