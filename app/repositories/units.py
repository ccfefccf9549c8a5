"""Units of work as rows: added once whoever comes second, and looked up by many ids at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, String, any_, literal
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db.base import Base


def add_missing(session: Session, table: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """INSERT ... ON CONFLICT DO NOTHING; whichever unique key a row meets, the stored row stays as it is."""
    if rows:
        session.execute(insert(table).on_conflict_do_nothing(), list(rows))


def among(
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None], ids: Collection[str]
) -> ColumnElement[bool]:
    """`column = ANY(ids)`: one parameter however many ids, where IN would meet the protocol's limit of 65,535."""
    return column == any_(literal(list(ids), ARRAY(String)))
