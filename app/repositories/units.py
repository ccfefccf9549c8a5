"""Units of work as rows: added once whoever comes second, and looked up by many ids at a time."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Insert, String, Table, Text, any_, bindparam, cast, column, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY, JSON, insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from app.db.base import Base, StorableText, storable


def add_missing(session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """INSERT ... ON CONFLICT DO NOTHING; gives the ids of the rows that were added.

    Whichever unique key a row meets, the stored row stays as it is. All rows have the same columns. They go as one JSON
    document, so that the statement's text does not depend on how many there are: a value for each parameter of each row
    cost ten times as much.
    """
    if not rows:
        return []
    described, names = _described(table), tuple(rows[0])
    texts = [name for name in names if isinstance(described.columns[name].type, StorableText)]
    document = json.dumps([_plain(row, texts) for row in rows], default=str, allow_nan=False)
    return list(session.connection().execute(_insert_missing(described, names), {"rows": document}).scalars())


def among(
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None], ids: Collection[str]
) -> ColumnElement[bool]:
    """`column = ANY(ids)`: one parameter however many ids, where IN would meet the protocol's limit of 65,535."""
    return column == any_(literal(list(ids), ARRAY(String)))


def _described(table: type[Base]) -> Table:
    described = table.__table__
    if not isinstance(described, Table):
        raise TypeError(f"{table.__name__} is mapped to no table of its own")
    return described


def _plain(row: Mapping[str, Any], texts: Sequence[str]) -> Mapping[str, Any]:
    """The row as JSON can hold it; a Decimal or a moment goes as its text, which PostgreSQL reads."""
    cleaned = {name: storable(row[name]) for name in texts if row[name] is not None}
    return {**row, **cleaned}


@lru_cache(maxsize=64)
def _insert_missing(table: Table, names: tuple[str, ...]) -> Insert:
    """Of rows in the parameter `rows`; columns that they do not name get their defaults."""
    given = func.json_to_recordset(cast(bindparam("rows", type_=Text), JSON))
    columns = [column(name, table.columns[name].type) for name in names]
    new = given.table_valued(*columns).render_derived(name="new", with_types=True)
    return (
        insert(table)
        .from_select(list(names), select(*(new.columns[name] for name in names)))
        .on_conflict_do_nothing()
        .returning(table.columns["id"])
    )
