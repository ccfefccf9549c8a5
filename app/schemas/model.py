"""Models as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.db.models import Model, ModelKind
from app.schemas.names import ResourceName

LOCAL = "local:"
# One path segment that neither starts with a dot nor holds a separator.
LocalSource = Annotated[str, StringConstraints(pattern=r"^local:[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class ModelIn(BaseModel):
    """A base model out of the operator's directory. Other models are uploaded."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"name": "tiny-llama", "source": "local:base_model"}]},
    )

    name: ResourceName = Field(description="Unique within the project")
    source: LocalSource = Field(description="`local:NAME`, a directory of the operator's RLAIF_MODELS_DIR")

    def directory_name(self) -> str:
        return self.source.removeprefix(LOCAL)


class ModelOut(BaseModel):
    """A validated base model, or a checkpoint that a run trained."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["model_01m7xk5mgzeyva4mageqj2tqtk"])
    name: str = Field(examples=["tiny-llama"])
    kind: ModelKind
    source: str = Field(examples=["local:base_model"])
    family: str = Field(examples=["llama"])
    architecture: str = Field(examples=["LlamaForCausalLM"])
    parameters: int = Field(description="Elements of all tensors", examples=[1209456])
    digest: str = Field(description="SHA-256 over the manifest of its files")
    checkpoint_id: str | None = Field(description="The checkpoint this model is, when a run trained it")
    created_at: datetime

    @classmethod
    def of(cls, row: Model) -> Self:
        return cls(
            id=row.id,
            name=row.name,
            kind=row.kind,
            source=row.source,
            family=row.family,
            architecture=row.architecture,
            parameters=row.parameters,
            digest=row.digest,
            checkpoint_id=row.checkpoint_id,
            created_at=row.created_at,
        )
