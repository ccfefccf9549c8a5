"""What happens to shards whose holder or doorbell has gone silent."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.models import RunStatus, ShardStatus
from app.services import engine
from tests.integration.engine.conftest import Hands
from tests.runs import submit

SILENCE = text("UPDATE shards SET rung_at = now() - interval '1 hour'")
LONG_AGO = text(
    "UPDATE runs SET cancel_requested_at = cancel_requested_at - interval '1 hour',"
    " pause_requested_at = pause_requested_at - interval '1 hour'"
)


class TestRecover:
    def test_a_live_lease_is_left_alone(self, session: Session, hands: Hands) -> None:
        claim = hands.claim(submit(session, shards=1))

        assert claim.shard_id not in engine.expired(session)
        assert not engine.recover(session, claim.shard_id)

    def test_an_expired_one_is_rung_again_with_its_attempt_counted(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        hands.rung(run)
        claim = hands.claim(run)
        hands.expire(claim.shard_id)

        assert claim.shard_id in engine.expired(session)
        assert engine.recover(session, claim.shard_id)
        assert not engine.recover(session, claim.shard_id)

        shard = hands.shard(claim.shard_id)
        assert (shard.status, shard.attempt) == (ShardStatus.QUEUED, 1)
        assert shard.error is not None
        assert shard.error["code"] == "lease_expired"
        assert hands.rung(run) == [claim.shard_id]

    def test_at_the_ceiling_the_run_fails(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1, max_attempts=1)
        claim = hands.claim(run)
        hands.expire(claim.shard_id)

        engine.recover(session, claim.shard_id)

        failed = hands.reload(run)
        assert failed.status is RunStatus.FAILED
        assert failed.error is not None
        assert "stopped renewing" in failed.error["detail"]


class TestStop:
    def test_a_silent_holder_does_not_keep_a_run_from_ending(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=2)
        claim = hands.claim(run)
        engine.request_cancel(session, run)
        assert run.id not in engine.not_stopping(session, patience_s=7)
        session.execute(LONG_AGO)

        assert run.id in engine.not_stopping(session, patience_s=7)
        engine.stop(session, run.id)

        assert hands.reload(run).status is RunStatus.CANCELLED
        assert not engine.holds(session, claim.shard_id, claim.token)
        assert run.id not in engine.not_stopping(session, patience_s=7)

    def test_nor_from_pausing(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        claim = hands.claim(run)
        engine.request_pause(session, run, "")
        session.execute(LONG_AGO)

        assert run.id in engine.not_stopping(session, patience_s=7)
        engine.stop(session, run.id)

        assert hands.reload(run).status is RunStatus.PAUSED
        assert not engine.holds(session, claim.shard_id, claim.token)
        assert run.id not in engine.not_stopping(session, patience_s=7)

    def test_a_run_that_goes_on_is_left_alone(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        claim = hands.claim(run)

        engine.stop(session, run.id)

        assert engine.holds(session, claim.shard_id, claim.token)


class TestRingSilent:
    def test_rings_the_silent_once(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=3)
        hands.rung(run)
        session.execute(SILENCE)

        assert engine.ring_silent(session, queue="gpu", silence_s=8, limit=2) == 2
        assert engine.ring_silent(session, queue="gpu", silence_s=8, limit=2) == 1
        assert engine.ring_silent(session, queue="gpu", silence_s=8, limit=2) == 0
        assert hands.rung(run) == sorted(hands.queued(run))

    def test_what_waits_in_the_outbox_is_not_doubled(self, session: Session, hands: Hands) -> None:
        submit(session, shards=3)
        session.execute(SILENCE)

        assert engine.ring_silent(session, queue="gpu", silence_s=8, limit=10) == 0

    def test_a_paused_run_is_not_rung(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        hands.rung(run)
        engine.request_pause(session, run, "")
        session.execute(SILENCE)

        assert engine.ring_silent(session, queue="gpu", silence_s=8, limit=10) == 0
