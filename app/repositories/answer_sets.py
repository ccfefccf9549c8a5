"""Answer sets. Keys arrive by COPY in a temporary table, where two answers to one question are found."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import cast

from psycopg import Connection
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db.models import AnswerSet
from app.repositories.pages import Chunk, Slice, chunk
from app.repositories.units import among

_INCOMING = 'CREATE TEMPORARY TABLE incoming_answers (line integer, key text COLLATE "C") ON COMMIT DROP'


def copy_keys(session: Session, keys: Iterable[tuple[int, str]]) -> None:
    """Stream (line, key) into the transaction's temporary table; memory does not grow with their number."""
    session.execute(text(_INCOMING))
    connection = cast(Connection, session.connection().connection.driver_connection)
    with connection.cursor() as cursor, cursor.copy("COPY incoming_answers (line, key) FROM STDIN") as copy:
        copy.set_types(("int4", "text"))
        for row in keys:
            copy.write_row(row)


def duplicate_keys(session: Session, *, limit: int) -> list[tuple[int, int]]:
    """Lines that answer what an earlier line answers, each with the earlier one's number."""
    query = """
        SELECT line, earlier FROM (
            SELECT line, first_value(line) OVER (PARTITION BY key ORDER BY line) AS earlier FROM incoming_answers
        ) AS numbered WHERE line > earlier ORDER BY line LIMIT :limit
    """
    return [(row.line, row.earlier) for row in session.execute(text(query), {"limit": limit})]


def get(session: Session, project_id: str, answer_set_id: str) -> AnswerSet | None:
    return session.scalar(select(AnswerSet).where(AnswerSet.project_id == project_id, AnswerSet.id == answer_set_id))


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[AnswerSet]:
    query = select(AnswerSet).where(AnswerSet.project_id == project_id)
    if name is not None:
        query = query.where(AnswerSet.name == name)
    return chunk(session, query, slice_, by=AnswerSet.id, newest_first=True)


def digests(session: Session, ids: Collection[str]) -> dict[str, str]:
    """The digests of some sets, by their ids."""
    rows = session.execute(select(AnswerSet.id, AnswerSet.digest).where(among(AnswerSet.id, ids)))
    return {row.id: row.digest for row in rows}
