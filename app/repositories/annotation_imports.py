"""Imported labels. Rows arrive by COPY in a temporary table, where they are checked as a whole before they count."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import Any, cast

from psycopg import Connection
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.rlaif.annotation import PersonAnswer, SkipReason

_INCOMING = """
CREATE TEMPORARY TABLE incoming_annotations (
    line integer, item_id varchar(64) COLLATE "C", annotation_id varchar(64) COLLATE "C",
    comparison_id varchar(64) COLLATE "C", content jsonb, content_hash varchar(64), prompt_key varchar(64) COLLATE "C",
    annotator varchar(200), answer varchar(32), skip_reason varchar(32), note text, seconds double precision,
    adjudication boolean
) ON COMMIT DROP
"""
_COLUMNS = (
    "line, item_id, annotation_id, comparison_id, content, content_hash, prompt_key, annotator, answer, skip_reason, "
    "note, seconds, adjudication"
)
_TYPES = (
    *("int4", "text", "text", "text", "jsonb"),
    *("text", "text", "text", "text", "text", "text", "float8", "bool"),
)
# What an item is about, under one name for both kinds.
_KEY = "coalesce(incoming.comparison_id, incoming.content_hash)"
_SAME_ITEM = f"item.queue_id = :queue_id AND coalesce(item.comparison_id, item.content_hash) = {_KEY}"


@dataclass(frozen=True, slots=True)
class IncomingAnnotation:
    """A label on its way in; `line` is where the client wrote it, from 1. About a comparison, or about its content."""

    line: int
    item_id: str
    annotation_id: str
    comparison_id: str | None
    content: dict[str, Any] | None
    content_hash: str | None
    prompt_key: str | None
    annotator: str
    answer: PersonAnswer
    skip_reason: SkipReason | None
    note: str | None
    seconds: float | None
    adjudication: bool


@dataclass(frozen=True, slots=True)
class BadLabel:
    """A line that cannot come in; `value` is what is wrong with it, `earlier` the line or answer it contradicts."""

    line: int
    value: str
    earlier: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What an upload changed: new items, new annotations, and how many were there already."""

    items: int
    annotations: int
    known: int


def copy_in(session: Session, rows: Iterable[IncomingAnnotation]) -> None:
    """Stream the rows into the transaction's temporary table; memory does not grow with their number."""
    session.execute(text(_INCOMING))
    connection = cast(Connection, session.connection().connection.driver_connection)
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY incoming_annotations ({_COLUMNS}) FROM STDIN") as copy,
    ):
        copy.set_types(_TYPES)
        for row in rows:
            copy.write_row(astuple(row))
    session.execute(text("ANALYZE incoming_annotations"))


def unknown_comparisons(session: Session, project_id: str, *, limit: int) -> list[BadLabel]:
    """Lines about comparisons that the project does not have."""
    query = """
        SELECT line, comparison_id, '' FROM incoming_annotations AS incoming
        WHERE comparison_id IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM comparisons WHERE comparisons.id = incoming.comparison_id AND project_id = :project_id
        ) ORDER BY line LIMIT :limit
    """
    return _bad(session, query, project_id=project_id, limit=limit)


def contradictions(session: Session, queue_id: str, *, limit: int) -> list[BadLabel]:
    """Lines in which a person answers otherwise than in an earlier line, or than the queue holds."""
    query = f"""
        SELECT line, annotator, earlier FROM (
            SELECT line, annotator, 'line ' || first_value(line) OVER said AS earlier,
                ROW(answer, adjudication) IS DISTINCT FROM
                    ROW(first_value(answer) OVER said, first_value(adjudication) OVER said) AS differs
            FROM incoming_annotations AS incoming WINDOW said AS (PARTITION BY {_KEY}, annotator ORDER BY line)
        ) AS told WHERE differs
        UNION ALL
        SELECT incoming.line, incoming.annotator, stored.id FROM incoming_annotations AS incoming
        JOIN annotation_items AS item ON {_SAME_ITEM}
        JOIN annotations AS stored ON stored.item_id = item.id AND stored.annotator = incoming.annotator
        WHERE ROW(stored.answer, stored.adjudication) IS DISTINCT FROM ROW(incoming.answer, incoming.adjudication)
        ORDER BY line LIMIT :limit
    """  # noqa: S608  the parts are constants
    return _bad(session, query, queue_id=queue_id, limit=limit)


def second_adjudications(session: Session, queue_id: str, *, limit: int) -> list[BadLabel]:
    """Lines that would have the last word where another person has had it."""
    query = f"""
        SELECT line, annotator, earlier FROM (
            SELECT line, annotator, 'line ' || first_value(line) OVER said AS earlier,
                annotator <> first_value(annotator) OVER said AS differs
            FROM incoming_annotations AS incoming WHERE adjudication WINDOW said AS (PARTITION BY {_KEY} ORDER BY line)
        ) AS told WHERE differs
        UNION ALL
        SELECT incoming.line, incoming.annotator, stored.id FROM incoming_annotations AS incoming
        JOIN annotation_items AS item ON {_SAME_ITEM}
        JOIN annotations AS stored ON stored.item_id = item.id AND stored.adjudication
        WHERE incoming.adjudication AND stored.annotator <> incoming.annotator
        ORDER BY line LIMIT :limit
    """  # noqa: S608  the parts are constants
    return _bad(session, query, queue_id=queue_id, limit=limit)


def move_items(session: Session, project_id: str, queue_id: str) -> int:
    """Make an item of everything that the queue does not hold yet; how many these are."""
    statement = f"""
        INSERT INTO annotation_items
            (id, project_id, queue_id, comparison_id, content, content_hash, prompt_key, priority, state)
        SELECT DISTINCT ON ({_KEY}) item_id, :project_id, :queue_id, incoming.comparison_id, content, content_hash,
            coalesce(incoming.prompt_key, comparisons.prompt_id), 0, 'open'
        FROM incoming_annotations AS incoming LEFT JOIN comparisons ON comparisons.id = incoming.comparison_id
        ORDER BY {_KEY}, line
        ON CONFLICT DO NOTHING
    """  # noqa: S608  the parts are constants
    return _count(session, statement, project_id=project_id, queue_id=queue_id)


def point_at_items(session: Session, queue_id: str) -> None:
    """Let every incoming label name the item that it is about: its own, or the one that was there."""
    statement = f"""
        UPDATE incoming_annotations AS incoming SET item_id = item.id FROM annotation_items AS item WHERE {_SAME_ITEM}
    """  # noqa: S608  the parts are constants
    session.execute(text(statement), {"queue_id": queue_id})


def move_annotations(session: Session, project_id: str, queue_id: str) -> int:
    """Make the incoming labels annotations where their person has not answered yet; how many these are."""
    statement = """
        INSERT INTO annotations (id, project_id, queue_id, item_id, annotator, answer, skip_reason, note, seconds,
            imported, adjudication)
        SELECT annotation_id, :project_id, :queue_id, item_id, annotator, answer, skip_reason, note, seconds, true,
            adjudication
        FROM incoming_annotations ORDER BY line
        ON CONFLICT DO NOTHING
    """
    return _count(session, statement, project_id=project_id, queue_id=queue_id)


@dataclass(frozen=True, slots=True)
class Touched:
    """An item that labels came in for: the seats it has, and the annotations by others than adjudicators."""

    item_id: str
    seats: int
    annotations: int


def touched(session: Session, *, batch: int) -> Iterator[list[Touched]]:
    """Every item that a label came in for."""
    query = """
        SELECT incoming.item_id,
            (SELECT count(*) FROM annotation_seats AS seat
                WHERE seat.item_id = incoming.item_id AND NOT seat.adjudication),
            (SELECT count(*) FROM annotations AS given
                WHERE given.item_id = incoming.item_id AND given.imported AND NOT given.adjudication)
        FROM (SELECT DISTINCT item_id FROM incoming_annotations WHERE item_id > :after ORDER BY item_id LIMIT :batch)
            AS incoming ORDER BY incoming.item_id
    """
    after = ""
    while rows := [Touched(*row) for row in session.execute(text(query), {"after": after, "batch": batch})]:
        after = rows[-1].item_id
        yield rows


def _bad(session: Session, query: str, **parameters: Any) -> list[BadLabel]:
    return [BadLabel(*row) for row in session.execute(text(query), parameters)]


def _count(session: Session, statement: str, **parameters: Any) -> int:
    query = f"WITH made AS ({statement} RETURNING 1) SELECT count(*) FROM made"  # noqa: S608  constants
    return int(session.scalar(text(query), parameters) or 0)
