"""One listing in three forms: a page, or everything as JSONL or Parquet, streamed in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.api.pagination import PageRequest
from app.db.session import SessionFactory
from app.services import exports
from app.services.exports import Fetch

JSONL = "application/jsonl"
PARQUET = "application/vnd.apache.parquet"
Item = TypeVar("Item", bound=BaseModel)


class Format(StrEnum):
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


FormatQuery = Annotated[
    Format, Query(alias="format", description="`json`: a page; `jsonl` and `parquet`: all rows, streamed")
]
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page, or all rows in the format asked for",
        "content": {
            JSONL: {"schema": {"type": "string", "description": "One row of a page a line"}},
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@dataclass(frozen=True, slots=True)
class Listing(Generic[Item]):
    """Rows and the schema in which clients see them. `name` is the file's."""

    name: str
    fetch: Fetch
    schema: type[Item]


def respond(
    listing: Listing[Item], format_: Format, *, paging: PageRequest, session: Session, sessions: SessionFactory
) -> Response:
    """The listing as asked for. A page is read in `session`; a stream reads by itself, long after this returns."""
    if format_ is Format.JSON:
        page = paging.page(listing.fetch(session, paging.slice), listing.schema.model_validate)
        return Response(page.model_dump_json(), media_type="application/json")
    groups = exports.validated(exports.batches(sessions, listing.fetch), listing.schema)
    if format_ is Format.JSONL:
        return attachment(exports.as_jsonl(groups), f"{listing.name}.jsonl", JSONL)
    return attachment(exports.as_parquet(groups, listing.schema), f"{listing.name}.parquet", PARQUET)


def attachment(blocks: Iterator[bytes], filename: str, media_type: str) -> StreamingResponse:
    """A stream whose first block is made now: what fails at once is still answered as a problem."""
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'}
    return StreamingResponse(chain([next(blocks, b"")], blocks), headers=headers, media_type=media_type)
