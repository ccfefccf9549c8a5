"""Keyset pages: an index range and one row more than asked for. Never an OFFSET, never a count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Slice:
    """Which part of a list: at most `limit` rows behind the row whose key is `after`, or from the start."""

    limit: int
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Chunk(Generic[Row]):
    """One page's rows; `last` is the key of the last one, None on an empty page."""

    rows: tuple[Row, ...]
    has_more: bool
    last: str | None


def chunk(
    session: Session,
    query: Select[Row],
    slice_: Slice,
    *,
    by: InstrumentedAttribute[Any],
    newest_first: bool = False,
) -> Chunk[Row]:
    """The page of `query` in the order of the unique column `by`, which the query must not order itself."""
    if slice_.after is not None:
        query = query.where(by < slice_.after if newest_first else by > slice_.after)
    query = query.order_by(by.desc() if newest_first else by.asc()).limit(slice_.limit + 1)
    rows = tuple(session.scalars(query))
    kept = rows[: slice_.limit]
    return Chunk(kept, len(rows) > slice_.limit, str(getattr(kept[-1], by.key)) if kept else None)
