"""Revised answers as clients see them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from app.db.models import Split
from app.rlaif.critique import Ending


class RevisionOut(BaseModel):
    """One step of a prompt's answer: step 0 is the base model's own, each later one was criticised and revised."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["revised_01m7xk5mgzeyva4mageqj2tqtk"])
    run_id: str = Field(description="The run that made it: another one where its warm start is reused")
    split: Split = Field(description="Held-out answers are measured on and never learned")
    prompt_id: str = Field(examples=["prompt_01m7xk5mgzeyva4mageqj2tqtk"])
    step: int = Field(examples=[1])
    principle: str | None = Field(description="By which it was criticised", examples=["Prefer the safest answer."])
    critique: str | None = Field(description="Of the step before", examples=["The answer names no risk."])
    text: str | None = Field(
        description="Null until it is revised; empty where no revision was asked for", examples=["Wear gloves."]
    )
    finish_reason: Ending | None = Field(
        description="stop, length; no_room: the model's window has no room; no_critique: the critic gave none",
        examples=["stop"],
    )
    prompt_tokens: int | None = Field(description="Of all that was asked for the text", examples=[211])
    critique_tokens: int | None = Field(examples=[34])
    tokens: int | None = Field(examples=[11])
    critique_seed: int | None = Field(examples=[7043214096254131])
    seed: int | None = Field(examples=[5043214096254131])
    created_at: datetime
