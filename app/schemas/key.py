"""API keys as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from app.db.models import ApiKey, Scope
from app.schemas.names import ResourceName


def _require_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a moment is written as RFC 3339 text, such as 2030-01-01T00:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_require_text)]


class KeyIn(BaseModel):
    """A new key for the caller's project."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"name": "ci", "scopes": ["write"]}]}
    )

    name: ResourceName = Field(description="For people; need not be unique")
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=3)] = Field(
        description="Each scope includes the ones before it: read, write, admin"
    )
    expires_at: Moment | None = Field(None, description="After this moment the key opens nothing; null is never")


class KeyOut(BaseModel):
    """A key without its plaintext, which nobody has any more."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["key_01m7xk5mgzeyva4mageqj2tqtk"])
    name: str = Field(examples=["ci"])
    hint: str = Field(description="How the key begins and ends", examples=["rlaif_...x3Kq"])
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: ApiKey) -> Self:
        return cls(**_fields(row))


class NewKeyOut(KeyOut):
    """The one answer that holds the key itself."""

    key: str | None = Field(
        description="The plaintext, shown once and stored nowhere: a replayed answer has null here",
        examples=["rlaif_3q2-7w..."],
    )

    @classmethod
    def with_plaintext(cls, row: ApiKey, plaintext: str) -> Self:
        return cls(**_fields(row), key=plaintext)


def _fields(row: ApiKey) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "hint": row.hint,
        "scopes": row.scopes,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
    }
