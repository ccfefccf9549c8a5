"""A reason to doubt what was measured."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Caveat(BaseModel):
    """A reason for doubt: `code` is stable."""

    model_config = ConfigDict(frozen=True)

    code: str
    detail: str
