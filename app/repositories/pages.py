"""Keyset pages: an index range and one row more than asked for. Never an OFFSET, never a count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db.session import SessionFactory

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
        after = by.type.python_type(slice_.after)
        query = query.where(by < after if newest_first else by > after)
    query = query.order_by(by.desc() if newest_first else by.asc()).limit(slice_.limit + 1)
    rows = tuple(session.scalars(query))
    kept = rows[: slice_.limit]
    return Chunk(kept, len(rows) > slice_.limit, str(getattr(kept[-1], by.key)) if kept else None)


def walk(
    sessions: SessionFactory, read: Callable[[Session, Slice], Chunk[Row]], *, batch: int = 500
) -> Iterator[tuple[Row, ...]]:
    """Every row of a list in batches, each in a short transaction of its own: a slow reader holds no connection."""
    slice_ = Slice(batch)
    while True:
        with sessions() as session:
            found = read(session, slice_)
        yield found.rows
        if not found.has_more:
            return
        slice_ = Slice(batch, found.last)
