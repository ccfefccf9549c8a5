"""The shape of every list."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")


class Page(BaseModel, Generic[Item]):
    """One page of a list. Pass `after` back as the query parameter `after` to read the next one."""

    # Said again here because a parametrised model does not inherit its docstring.
    model_config = ConfigDict(
        frozen=True, json_schema_extra={"description": "One page of a list; `after` is the next one's cursor."}
    )

    data: list[Item]
    has_more: bool = Field(description="Whether another page follows", examples=[False])
    after: str | None = Field(description="Cursor of the next page; null on the last one", examples=[None])
