"""The one shape of every error (RFC 9457)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.problem_fields import FieldError


class Problem(BaseModel):
    """application/problem+json. Decide by `code`; it never changes. The rest is for people."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(examples=["urn:rlaif:problem:not_found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["rubric 'rubric_01kyz' does not exist in this project"])
    code: str = Field(examples=["not_found"])
    field: str | None = Field(description="The first offending field", examples=[None])
    errors: list[FieldError] = Field(description="Every offending field, at most 100", examples=[[]])
    request_id: str = Field(
        description="Also the X-Request-Id header; the server's log has it",
        examples=["0d9c1f0e6a3b4b5c9e8f7a6b5c4d3e2f"],
    )
