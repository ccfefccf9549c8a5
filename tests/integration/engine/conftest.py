"""What every engine test does with shards: claim them, end them, count them."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db.models import Event, Outbox, Run, Shard, ShardStatus
from app.services import engine
from app.services.engine import Claim

LEASE_S = 15.0
EXPIRE = text("UPDATE shards SET lease_expires_at = now() - interval '1 second' WHERE id = :shard")


class Hands:
    """A worker's hands on the engine, in one session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def queued(self, run: Run) -> list[str]:
        return self.shards(run, ShardStatus.QUEUED)

    def shards(self, run: Run, *statuses: ShardStatus) -> list[str]:
        query = select(Shard.id).where(Shard.run_id == run.id, Shard.status.in_(statuses or list(ShardStatus)))
        return list(self.session.scalars(query.order_by(Shard.phase, Shard.position)))

    def claim(self, run: Run, worker: str = "worker") -> Claim:
        """Claim the first queued shard, which must succeed."""
        claim = self.try_claim(self.queued(run)[0], worker)
        assert claim is not None
        return claim

    def try_claim(self, shard_id: str, worker: str = "worker") -> Claim | None:
        return engine.claim(self.session, shard_id, worker=worker, lease_s=LEASE_S)

    def complete(self, claim: Claim, *, units: int = 1, **metrics: object) -> bool:
        return engine.complete(self.session, claim.shard_id, claim.token, units=units, metrics=metrics)

    def finish(self, run: Run) -> int:
        """Work on the run until nothing is queued; says how many shards that took."""
        done = 0
        while self.queued(run):
            assert self.complete(self.claim(run))
            done += 1
        return done

    def shard(self, shard_id: str) -> Shard:
        return self.session.get_one(Shard, shard_id, populate_existing=True)

    def reload(self, run: Run) -> Run:
        return self.session.get_one(Run, run.id, populate_existing=True)

    def events(self, run: Run) -> list[str]:
        return list(self.session.scalars(select(Event.type).where(Event.run_id == run.id).order_by(Event.id)))

    def rung(self, run: Run) -> list[str]:
        """The shards of the run whose doorbells wait in the outbox, and empties it of them."""
        rows = list(
            self.session.scalars(select(Outbox).join(Shard, Shard.id == Outbox.shard_id).where(Shard.run_id == run.id))
        )
        for row in rows:
            self.session.delete(row)
        self.session.flush()
        return sorted(row.shard_id for row in rows)

    def expire(self, shard_id: str) -> None:
        """Let the lease end now."""
        self.session.execute(EXPIRE.bindparams(shard=shard_id))


@pytest.fixture
def hands(session: Session) -> Hands:
    return Hands(session)
