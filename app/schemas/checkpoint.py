"""Checkpoints as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.db.models import CheckpointKind
from app.rlaif.evidence import Reason


class FileOut(BaseModel):
    """One file of a checkpoint."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(examples=["model.safetensors"])
    size: int = Field(description="Bytes", examples=[3_741_216])
    sha256: str


class ManifestOut(BaseModel):
    """Every file with its digest; `digest` identifies the whole."""

    model_config = ConfigDict(frozen=True)

    digest: str
    files: list[FileOut]


class CheckpointOut(BaseModel):
    """Published weights. They never change: the digest says which they are."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["checkpoint_01m7xk5mgzeyva4mageqj2tqtk"])
    run_id: str = Field(description="The run that trained it")
    round: int = Field(examples=[0])
    candidate: int = Field(description="Which candidate of a sweep; else 0", examples=[0])
    kind: CheckpointKind
    step: int = Field(examples=[128])
    digest: str = Field(description="SHA-256 over the manifest's lines")
    size_bytes: int = Field(examples=[3_912_004])
    metrics: dict[str, Any]
    lineage: dict[str, Any] = Field(description="What it was learned from, by content")
    manifest: ManifestOut
    selected: bool | None = Field(
        description="Of a policy: whether its round went on with it, as with the best of a sweep; null until then"
    )
    promoted: bool | None = Field(
        description="Of a policy: whether its run's evaluation met `recipe.evaluate.gates`; null before it is evaluated"
    )
    promotion_reasons: list[Reason] | None = Field(description="One a gate; empty where nothing was asked")
    created_at: datetime
