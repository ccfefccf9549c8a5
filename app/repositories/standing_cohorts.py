"""Standing cohorts and their traces. Traces arrive by COPY; of one question the newest answer stays."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast

from psycopg import Connection
from psycopg.types.json import Jsonb
from sqlalchemy import Integer, Select, delete, func, select, text
from sqlalchemy import cast as sql_cast
from sqlalchemy.orm import Session

from app.db.models import StandingCohort, Trace
from app.repositories.pages import Chunk, Slice, chunk

IncomingTrace = tuple[int, str, str, list[Any], list[Any] | None, Any, str | None, datetime | None]
"""line, id, prompt_hash, messages, tools, response, model, occurred_at"""

_INCOMING = """
CREATE TEMPORARY TABLE incoming_traces (
    line integer, id varchar(64) COLLATE "C", prompt_hash varchar(64), messages jsonb, tools jsonb, response jsonb,
    model varchar(100), occurred_at timestamptz
) ON COMMIT DROP
"""
_TYPES = ("int4", "text", "text", "jsonb", "jsonb", "jsonb", "text", "timestamptz")
_JSON = (3, 4, 5)
_MOVE = """
INSERT INTO traces (
    id, project_id, standing_cohort_id, prompt_hash, messages, tools, response, model, occurred_at
)
SELECT DISTINCT ON (prompt_hash)
    id, :project_id, :cohort_id, prompt_hash, messages, tools, response, model, coalesce(occurred_at, now())
FROM incoming_traces ORDER BY prompt_hash, coalesce(occurred_at, now()) DESC, line DESC
ON CONFLICT (standing_cohort_id, prompt_hash) DO UPDATE SET
    response = excluded.response, model = excluded.model, occurred_at = excluded.occurred_at
    WHERE excluded.occurred_at >= traces.occurred_at
RETURNING (xmax = 0) AS added
"""


def copy_in(session: Session, rows: Iterable[IncomingTrace]) -> None:
    """Stream the rows into the transaction's temporary table; memory does not grow with their number."""
    session.execute(text(_INCOMING))
    connection = cast(Connection, session.connection().connection.driver_connection)
    with connection.cursor() as cursor, cursor.copy("COPY incoming_traces FROM STDIN") as copy:
        copy.set_types(_TYPES)
        for row in rows:
            copy.write_row([_dumped(place, value) for place, value in enumerate(row)])


def _dumped(place: int, value: Any) -> Any:
    return Jsonb(value) if place in _JSON and value is not None else value


def move_in(session: Session, cohort: StandingCohort) -> int:
    """Make the incoming rows the cohort's; how many of their questions are new."""
    rows = session.execute(text(_MOVE), {"project_id": cohort.project_id, "cohort_id": cohort.id})
    return sum(row.added for row in rows)


def get(session: Session, project_id: str, cohort_id: str, *, locked: bool = False) -> StandingCohort | None:
    query = select(StandingCohort).where(StandingCohort.project_id == project_id, StandingCohort.id == cohort_id)
    return session.scalar(query.with_for_update() if locked else query)


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[StandingCohort]:
    query = select(StandingCohort).where(StandingCohort.project_id == project_id)
    if name is not None:
        query = query.where(StandingCohort.name == name)
    return chunk(session, query, slice_, by=StandingCohort.id, newest_first=True)


def traces(session: Session, cohort_id: str, slice_: Slice) -> Chunk[Trace]:
    """Newest first."""
    query = select(Trace).where(Trace.standing_cohort_id == cohort_id)
    return chunk(session, query, slice_, by=Trace.id, newest_first=True)


def drawn(session: Session, cohort: StandingCohort) -> list[Trace]:
    """A sample that changes little as traces arrive and age: those in the window with the smallest hashes."""
    query = _young(cohort).order_by(Trace.prompt_hash).limit(cohort.size)
    return list(session.scalars(query))


def forget(session: Session, cohort: StandingCohort) -> None:
    """Delete it with its traces; the prompt sets that were drawn of it stay."""
    session.execute(delete(StandingCohort).where(StandingCohort.id == cohort.id))


def _young(cohort: StandingCohort) -> Select[Trace]:
    query = select(Trace).where(Trace.standing_cohort_id == cohort.id)
    if cohort.maximum_age_days is None:
        return query
    age = func.make_interval(0, 0, 0, sql_cast(cohort.maximum_age_days, Integer))
    return query.where(Trace.occurred_at > func.now() - age)
