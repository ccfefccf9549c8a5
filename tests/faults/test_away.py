"""Which database errors are nobody's fault: those give a shard back, all others count an attempt."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import NullPool

from workers.lease import is_away


def failing(database: str, statement: str) -> Exception:
    engine = create_engine(database, poolclass=NullPool)
    with pytest.raises(Exception) as caught, engine.connect() as connection:  # noqa: PT011  which one is the question
        connection.execute(text(statement))
    return caught.value


class TestIsAway:
    def test_no_server_is_away(self) -> None:
        error = failing("postgresql+psycopg://nobody@/none?host=/nonexistent", "SELECT 1")
        assert isinstance(error, OperationalError)
        assert is_away(error)

    def test_killed_backend_is_away(self, database: str) -> None:
        assert is_away(failing(database, "SELECT pg_terminate_backend(pg_backend_pid())"))

    def test_exhausted_pool_is_away(self) -> None:
        assert is_away(PoolTimeout())

    def test_full_disk_is_not(self) -> None:
        assert not is_away(OperationalError("INSERT", None, psycopg.errors.DiskFull("no space left on device")))

    def test_bad_statement_is_not(self, database: str) -> None:
        error = failing(database, "SELECT * FROM nothing_of_this_name")
        assert isinstance(error, ProgrammingError)
        assert not is_away(error)

    def test_other_exceptions_are_not(self) -> None:
        assert not is_away(ValueError("no"))
