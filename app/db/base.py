"""The declarative base, its naming convention, and the column types that every table shares."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from sqlalchemy import (
    BigInteger,
    DateTime,
    Dialect,
    Enum,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    func,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, mapped_column

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def storable(text: str) -> str:
    """The text with what PostgreSQL cannot hold (NUL, lone surrogates) replaced by U+FFFD.

    Clients' text is refused before it comes here; what models and judges write must not be lost for one byte.
    """
    return text.replace("\x00", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")


class StorableText(TypeDecorator[str]):
    """TEXT for what models and judges wrote."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


Id = Annotated[str, mapped_column(String(64, collation="C"), primary_key=True)]
Ref = Annotated[str, mapped_column(String(64, collation="C"))]
CreatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Json = Annotated[dict[str, Any], mapped_column(JSONB(none_as_null=True))]
JsonList = Annotated[list[Any], mapped_column(JSONB(none_as_null=True))]
Usd = Annotated[Decimal, mapped_column(Numeric(18, 9))]
Candidate = Annotated[int, mapped_column(SmallInteger, default=0)]
"""Which candidate of a sweep a row belongs to; 0 where nothing is swept."""
Big = Annotated[int, mapped_column(BigInteger)]
Long = Annotated[str, mapped_column(StorableText)]


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=CONVENTION)


def enum_column(kind: type[StrEnum]) -> Enum:
    """A StrEnum kept as text with a CHECK, so that a value is readable in SQL and an impossible one is refused."""
    return Enum(
        kind,
        name=kind.__name__.lower(),
        native_enum=False,
        create_constraint=True,
        length=32,
        values_callable=lambda members: [member.value for member in members],
    )
