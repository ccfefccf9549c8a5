"""What a client may ask of a run, in each of its states."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import RunStatus, ShardStatus, Stage, StageStatus
from app.errors import Conflict
from app.services import engine
from app.services.engine import Cause
from tests.integration.engine.conftest import Hands
from tests.runs import submit

OPEN = (ShardStatus.QUEUED, ShardStatus.RUNNING)


class TestCancel:
    def test_a_queued_run_is_cancelled_at_once(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=2)

        engine.request_cancel(session, run)

        assert hands.reload(run).status is RunStatus.CANCELLED
        assert hands.shards(run, *OPEN) == []
        assert session.scalars(select(Stage.status).where(Stage.run_id == run.id)).all() == [StageStatus.CANCELLED]

    def test_a_running_run_waits_for_its_holder(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=2)
        claim = hands.claim(run)

        engine.request_cancel(session, run)

        assert hands.reload(run).status is RunStatus.RUNNING
        assert engine.renew(session, claim.shard_id, claim.token, lease_s=15) is engine.Wish.CANCEL
        assert engine.release(session, claim.shard_id, claim.token)
        assert hands.reload(run).status is RunStatus.CANCELLED
        assert hands.shards(run, ShardStatus.CANCELLED) == hands.shards(run)

    def test_a_shard_that_finishes_first_keeps_its_result_and_opens_nothing(
        self, session: Session, hands: Hands
    ) -> None:
        run = submit(session, shards=1, stop_after="judge")
        claim = hands.claim(run)
        engine.request_cancel(session, run)

        assert hands.complete(claim)

        assert hands.reload(run).status is RunStatus.CANCELLED
        assert hands.shards(run) == hands.shards(run, ShardStatus.SUCCEEDED)

    def test_a_failing_attempt_ends_cancelled_not_failed(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        claim = hands.claim(run)
        engine.request_cancel(session, run)

        engine.fail_attempt(session, claim.shard_id, claim.token, Cause("x", "y"), retryable=False)

        assert hands.reload(run).status is RunStatus.CANCELLED

    def test_a_paused_run_is_cancelled_at_once(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        engine.request_pause(session, run, "lunch")

        engine.request_cancel(session, run)

        assert hands.reload(run).status is RunStatus.CANCELLED

    def test_twice_is_once(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        engine.request_cancel(session, run)
        engine.request_cancel(session, run)

        assert hands.events(run).count("run.cancelled") == 1

    def test_nothing_is_claimed_of_it(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=2)
        hands.claim(run)
        other = hands.queued(run)[0]
        engine.request_cancel(session, run)

        assert hands.try_claim(other) is None

    def test_a_finished_run_refuses(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        hands.finish(run)

        with pytest.raises(Conflict, match=f"{run.id} has already succeeded"):
            engine.request_cancel(session, run)


class TestPause:
    def test_holders_give_back_and_resume_rings(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=2)
        hands.rung(run)
        claim = hands.claim(run)

        engine.request_pause(session, run, "the operator asked")
        assert engine.renew(session, claim.shard_id, claim.token, lease_s=15) is engine.Wish.PAUSE
        engine.release(session, claim.shard_id, claim.token)

        paused = hands.reload(run)
        assert (paused.status, paused.pause_reason) == (RunStatus.PAUSED, "the operator asked")
        assert hands.shard(claim.shard_id).attempt == 0
        assert hands.rung(run) == []
        assert hands.try_claim(claim.shard_id) is None

        engine.resume(session, run)

        assert hands.rung(run) == sorted(hands.queued(run))
        assert hands.finish(run) == 2
        assert hands.reload(run).status is RunStatus.SUCCEEDED

    def test_the_last_shard_opens_the_next_phase_without_a_doorbell(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1, stop_after="judge")
        hands.rung(run)
        claim = hands.claim(run)
        engine.request_pause(session, run, "")

        hands.complete(claim)

        assert hands.reload(run).status is RunStatus.PAUSED
        assert len(hands.queued(run)) == 1
        assert hands.rung(run) == []

    def test_resume_before_the_pause_is_complete(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        claim = hands.claim(run)
        engine.request_pause(session, run, "")

        engine.resume(session, run)

        assert engine.renew(session, claim.shard_id, claim.token, lease_s=15) is engine.Wish.CONTINUE

    def test_a_running_run_has_nothing_to_resume(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)

        with pytest.raises(Conflict, match="is queued, not paused"):
            engine.resume(session, run)

    def test_a_cancelling_run_cannot_be_paused(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        hands.claim(run)
        engine.request_cancel(session, run)

        with pytest.raises(Conflict, match="is being cancelled"):
            engine.request_pause(session, run, "")


class TestRetry:
    def test_goes_on_where_it_failed(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=3, stop_after="judge")
        hands.complete(hands.claim(run))
        claim = hands.claim(run)
        engine.fail_attempt(session, claim.shard_id, claim.token, Cause("no_use", "broken"), retryable=False)
        hands.rung(run)

        engine.retry(session, run)

        assert hands.reload(run).status is RunStatus.RUNNING
        assert run.error is None
        assert len(hands.queued(run)) == 2
        assert hands.rung(run) == sorted(hands.queued(run))
        hands.finish(run)
        assert hands.reload(run).status is RunStatus.SUCCEEDED

    def test_only_a_failed_run(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)

        with pytest.raises(Conflict, match="only a failed run"):
            engine.retry(session, run)
