"""The values that the database accepts are those of the code: a difference that `alembic check` does not see."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Column, Enum, text
from sqlalchemy.orm import Session

import app.db.models  # noqa: F401  fills the metadata
from app.db.base import Base

ENUMS = [column for table in Base.metadata.sorted_tables for column in table.columns if isinstance(column.type, Enum)]
CHECK = text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name")


@pytest.mark.parametrize("column", ENUMS, ids=str)
def test_migrations_accept_the_values_of_the_code(session: Session, column: Column[str]) -> None:
    kind = column.type
    assert isinstance(kind, Enum)
    check = session.scalars(CHECK, {"name": f"ck_{column.table.name}_{kind.name}"}).one()
    assert set(re.findall("'([^']*)'", check)) == set(kind.enums)
