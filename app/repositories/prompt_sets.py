"""Prompt sets. Rows arrive by COPY in a temporary table, where the set is checked as a whole before it becomes real."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from psycopg import Connection
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db.models import Prompt, PromptSet, Split
from app.repositories.pages import Chunk, Slice, chunk

_INCOMING = """
CREATE TEMPORARY TABLE incoming_prompts (
    line integer, id varchar(64) COLLATE "C", position integer, external_id varchar(200), messages jsonb, tools jsonb,
    cohort varchar(100), split varchar(32), reference text, criteria jsonb, candidates jsonb, preferences jsonb,
    authors jsonb, annotations jsonb, outcomes jsonb
) ON COMMIT DROP
"""
_COLUMNS = (
    "id, position, external_id, messages, tools, cohort, split, reference, criteria, candidates, preferences, "
    "authors, annotations, outcomes"
)
_TYPES = ("int4", "text", "int4", "text", "jsonb", "jsonb", "text", "text", "text", *("jsonb",) * 6)


@dataclass(frozen=True, slots=True)
class IncomingPrompt:
    """A row on its way in; `line` is where the client wrote it, from 1."""

    line: int
    id: str
    position: int
    external_id: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    cohort: str
    split: Split
    reference: str | None
    criteria: list[dict[str, Any]]
    candidates: list[str | list[dict[str, Any]]]
    preferences: list[dict[str, Any]]
    authors: list[str | None]
    annotations: list[dict[str, Any]]
    outcomes: list[bool | None]


@dataclass(frozen=True, slots=True)
class Clash:
    """A line that cannot stand beside an earlier one; `value` is the id they share."""

    line: int
    earlier: int
    value: str


def copy_in(session: Session, rows: Iterable[IncomingPrompt]) -> None:
    """Stream the rows into the transaction's temporary table; memory does not grow with their number."""
    session.execute(text(_INCOMING))
    connection = cast(Connection, session.connection().connection.driver_connection)
    statement = f"COPY incoming_prompts (line, {_COLUMNS}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(_TYPES)
        for row in rows:
            copy.write_row(_values(row))
    session.execute(text("ANALYZE incoming_prompts"))


def duplicate_ids(session: Session, *, limit: int) -> list[Clash]:
    """Lines whose id an earlier line has."""
    query = """
        SELECT line, earlier, external_id FROM (
            SELECT line, external_id, first_value(line) OVER (PARTITION BY external_id ORDER BY line) AS earlier
            FROM incoming_prompts
        ) AS numbered WHERE line > earlier ORDER BY line LIMIT :limit
    """
    return [Clash(*row) for row in session.execute(text(query), {"limit": limit})]


def split_leaks(session: Session, *, limit: int) -> list[Clash]:
    """Held-out lines whose messages a train line has."""
    query = """
        SELECT held.line, train.line, held.external_id FROM incoming_prompts AS held JOIN (
            SELECT messages, min(line) AS line FROM incoming_prompts WHERE split = 'train' GROUP BY messages
        ) AS train ON train.messages = held.messages
        WHERE held.split = 'held_out' ORDER BY held.line LIMIT :limit
    """
    return [Clash(*row) for row in session.execute(text(query), {"limit": limit})]


def counts(session: Session) -> dict[tuple[str, str], int]:
    """Number of incoming prompts by split and cohort."""
    query = "SELECT split, cohort, count(*) FROM incoming_prompts GROUP BY split, cohort ORDER BY split, cohort"
    return {(split, cohort): count for split, cohort, count in session.execute(text(query))}


def move_in(session: Session, prompt_set: PromptSet) -> None:
    """Make the incoming rows the set's prompts."""
    statement = f"""
        INSERT INTO prompts (project_id, prompt_set_id, {_COLUMNS})
        SELECT :project_id, :prompt_set_id, {_COLUMNS} FROM incoming_prompts ORDER BY position
    """  # noqa: S608  the columns are constants
    session.execute(text(statement), {"project_id": prompt_set.project_id, "prompt_set_id": prompt_set.id})


def get(session: Session, project_id: str, prompt_set_id: str) -> PromptSet | None:
    return session.scalar(select(PromptSet).where(PromptSet.project_id == project_id, PromptSet.id == prompt_set_id))


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[PromptSet]:
    query = select(PromptSet).where(PromptSet.project_id == project_id, PromptSet.listed)
    if name is not None:
        query = query.where(PromptSet.name == name)
    return chunk(session, query, slice_, by=PromptSet.id, newest_first=True)


def prompts(session: Session, prompt_set_id: str, slice_: Slice) -> Chunk[Prompt]:
    """A set's prompts, in their order."""
    return chunk(session, select(Prompt).where(Prompt.prompt_set_id == prompt_set_id), slice_, by=Prompt.position)


def _values(row: IncomingPrompt) -> tuple[Any, ...]:
    return (
        row.line,
        row.id,
        row.position,
        row.external_id,
        row.messages,
        row.tools,
        row.cohort,
        row.split.value,
        row.reference,
        row.criteria,
        row.candidates,
        row.preferences,
        row.authors,
        row.annotations,
        row.outcomes,
    )
