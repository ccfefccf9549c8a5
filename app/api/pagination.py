"""Cursors: opaque, bound to the project and the list they came from, so that a forged or foreign one is refused."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request

from app.api.dependencies import AnyCaller
from app.errors import BadRequest
from app.repositories.pages import Chunk, Slice
from app.schemas.page import Page

Row = TypeVar("Row")
Item = TypeVar("Item")
_SEAL_BYTES = 9


class InvalidCursor(BadRequest):
    """Raised when `after` was not given out by this list to this project."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What part of which list the client asked for: services take `slice`, and `page` wraps what they return."""

    slice: Slice
    listing: str

    def page(self, chunk: Chunk[Row], out: Callable[[Row], Item]) -> Page[Item]:
        after = seal(chunk.last, self.listing) if chunk.has_more and chunk.last is not None else None
        return Page(data=[out(row) for row in chunk.rows], has_more=chunk.has_more, after=after)


def page_request(
    request: Request,
    caller: AnyCaller,
    limit: Annotated[int, Query(ge=1, le=200, description="Rows on a page")] = 50,
    after: Annotated[
        str | None, Query(max_length=500, description="Cursor from the page before; leave out for the first page")
    ] = None,
) -> PageRequest:
    listing = f"{caller.project_id} {request.url.path}"
    return PageRequest(Slice(limit, None if after is None else unseal(after, listing)), listing)


Paging = Annotated[PageRequest, Depends(page_request)]


def seal(key: str, listing: str) -> str:
    """The cursor of a row's key within one project's list."""
    return base64.urlsafe_b64encode(_checksum(key, listing) + key.encode()).decode().rstrip("=")


def unseal(cursor: str, listing: str) -> str:
    """The row's key. Raises InvalidCursor.

    The checksum has no secret: whoever computes one by hand only moves within a list that is theirs to read.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        key = raw[_SEAL_BYTES:].decode("ascii")
    except (binascii.Error, ValueError):
        key, raw = "", b""
    if not key or not hmac.compare_digest(raw[:_SEAL_BYTES], _checksum(key, listing)):
        raise InvalidCursor("`after` is not a cursor of this list: start without it", field="after")
    return key


def _checksum(key: str, listing: str) -> bytes:
    return hashlib.blake2b(f"{listing}\n{key}".encode(), digest_size=_SEAL_BYTES).digest()
