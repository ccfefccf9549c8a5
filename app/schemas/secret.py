"""Secrets as clients see them: everything but the value."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from app.db.models import Secret

SecretName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,253}$", to_lower=True)]


class SecretIn(BaseModel):
    """A new secret, such as a judge's API key."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"name": "openai", "host": "api.openai.com", "value": "sk-..."}]},
    )

    name: SecretName = Field(description="What judges refer to; unique within the project")
    host: Host = Field(description="The only host this secret is ever sent to: a name or an address, without a port")
    value: Annotated[SecretStr, Field(min_length=1, max_length=10_000)] = Field(
        description="Write-only: no answer ever holds it"
    )


class SecretOut(BaseModel):
    """A secret without its value."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["secret_01m7xk5mgzeyva4mageqj2tqtk"])
    name: str = Field(examples=["openai"])
    host: str = Field(examples=["api.openai.com"])
    created_at: datetime

    @classmethod
    def of(cls, row: Secret) -> Self:
        return cls(id=row.id, name=row.name, host=row.host, created_at=row.created_at)
