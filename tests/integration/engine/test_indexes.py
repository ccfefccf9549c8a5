"""The engine's frequent statements stay cheap beside a great many finished shards: asserted on their plans."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.orm import Session

from app.repositories import shards
from app.services import engine
from tests.runs import submit

FINISHED = 100_000
FILL = text(
    """
    INSERT INTO shards (id, project_id, run_id, stage_id, phase, position, queue, payload, status, attempt,
                        max_attempts, lease_token, total_units, done_units, progress, given_back)
    SELECT 'shard_' || n, project_id, run_id, stage_id, 0, 1000 + n, 'io', '{}', 'succeeded', 1, 3, 1, 1, 1, '{}', 0
    FROM shards, generate_series(1, :count) AS n WHERE shards.id = :like
    """
)


@pytest.fixture(scope="module")
def crowded(module_database: str) -> Iterator[tuple[Engine, str]]:
    """An engine on a database with many finished shards, and one shard that is queued."""
    made = create_engine(module_database)
    with Session(made) as session:
        run = submit(session, shards=3)
        shard_id = session.scalar(text("SELECT min(id) FROM shards"))
        session.execute(FILL, {"count": FINISHED, "like": shard_id})
        session.commit()
        assert shards.run_of(session, str(shard_id)) == run.id
    with made.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    yield made, str(shard_id)
    made.dispose()


class Plans:
    """Explains every statement on shards that runs while it listens."""

    def __init__(self, made: Engine) -> None:
        self._engine = made
        self.seen: list[tuple[str, str]] = []

    def __enter__(self) -> Plans:
        event.listen(self._engine, "before_cursor_execute", self._explain)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._explain)

    def _explain(self, _: object, cursor: DBAPICursor, statement: str, parameters: object, *__: object) -> None:
        if "shards" in statement and not statement.startswith("INSERT INTO shards"):
            cursor.execute(f"EXPLAIN {statement}", parameters)  # type: ignore[arg-type]
            self.seen.append((statement, "\n".join(row[0] for row in cursor.fetchall())))


def test_no_statement_of_a_shards_life_reads_them_all(crowded: tuple[Engine, str]) -> None:
    made, shard_id = crowded
    with Plans(made) as plans, Session(made) as session:
        work = engine.claim(session, shard_id, worker="w", lease_s=15)
        assert work is not None
        assert engine.holds(session, work.shard_id, work.token)
        engine.renew(session, work.shard_id, work.token, lease_s=15)
        engine.wish(session, work.shard_id, work.token)
        engine.record(session, work.shard_id, work.token, reports=[engine.Report(1, 1)], seconds=1)
        engine.expired(session)
        engine.recover(session, shard_id)
        engine.not_stopping(session, patience_s=7)
        engine.ring_silent(session, queue="gpu", silence_s=8, limit=10)
        engine.complete(session, work.shard_id, work.token, units=1, metrics={})
        session.rollback()

    assert len(plans.seen) > 10
    for statement, plan in plans.seen:
        assert "Seq Scan on shards" not in plan, f"{statement}\n{plan}"
