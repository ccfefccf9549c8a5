"""Counts what was lost, duplicated and recovered, and asks the database for every state that must not be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, text

INVARIANTS = {
    "a shard is running without a lease, or leased without running": """
        SELECT id FROM shards WHERE (status = 'running') <> (lease_expires_at IS NOT NULL)""",
    "a running shard's lease ended long ago": """
        SELECT id FROM shards WHERE status = 'running' AND lease_expires_at < now() - interval '10 seconds'""",
    "a finished run has open shards": """
        SELECT s.id FROM shards s JOIN runs r ON r.id = s.run_id
        WHERE r.status IN ('succeeded', 'failed', 'cancelled') AND s.status IN ('queued', 'running')""",
    "a finished run has open stages": """
        SELECT s.id FROM stages s JOIN runs r ON r.id = s.run_id
        WHERE r.status IN ('succeeded', 'failed', 'cancelled') AND s.status IN ('pending', 'running')""",
    "a succeeded run has a shard that did not succeed": """
        SELECT s.id FROM shards s JOIN runs r ON r.id = s.run_id
        WHERE r.status = 'succeeded' AND s.status <> 'succeeded'""",
    "a stage's count differs from its shards": """
        SELECT g.id FROM stages g WHERE g.done_shards <> (
            SELECT count(*) FROM shards s
            WHERE s.stage_id = g.id AND s.phase = g.phase AND s.status = 'succeeded')""",
    "a shard was claimed less often than attempted": "SELECT id FROM shards WHERE lease_token < attempt",
    "a doorbell has waited for long": "SELECT id FROM outbox WHERE created_at < now() - interval '10 seconds'",
    "an effect came after its run had ended": """
        SELECT e.shard_id FROM effects e JOIN shards s ON s.id = e.shard_id JOIN runs r ON r.id = s.run_id
        WHERE e.at > r.finished_at""",
    "an effect bears another token than the one that counted": """
        SELECT e.shard_id FROM effects e JOIN shards s ON s.id = e.shard_id WHERE e.token > s.lease_token""",
}
LOST = """
    SELECT s.id FROM shards s LEFT JOIN effects e ON e.shard_id = s.id
    WHERE s.run_id = ANY(:runs) AND (s.status <> 'succeeded' OR e.shard_id IS NULL)"""
DUPLICATED = """
    SELECT e.shard_id FROM effects e JOIN shards s ON s.id = e.shard_id
    WHERE s.run_id = ANY(:runs) GROUP BY e.shard_id HAVING count(*) > 1"""
RECOVERED = "SELECT id FROM shards WHERE run_id = ANY(:runs) AND lease_token > 1"


@dataclass(frozen=True, slots=True)
class Finding:
    """Shards whose work or effect is missing, whose effect came twice, and that needed more than one holder."""

    lost: frozenset[str]
    duplicated: frozenset[str]
    recovered: frozenset[str]

    @property
    def clean(self) -> bool:
        return not self.lost and not self.duplicated


def find(engine: Engine, run_ids: Sequence[str]) -> Finding:
    """What became of the runs that their client was told were accepted."""
    with engine.connect() as connection:

        def shards(query: str) -> frozenset[str]:
            return frozenset(connection.scalars(text(query), {"runs": list(run_ids)}))

        return Finding(shards(LOST), shards(DUPLICATED), shards(RECOVERED))


def broken_invariants(engine: Engine) -> dict[str, list[str]]:
    """The invariants that do not hold, with the rows that break them."""
    with engine.connect() as connection:
        found = {name: list(connection.scalars(text(query))) for name, query in INVARIANTS.items()}
    return {name: rows for name, rows in found.items() if rows}
