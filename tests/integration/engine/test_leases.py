"""Claim, fence, report, end: one holder at a time, and a stale token writes nothing."""

from __future__ import annotations

import math

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import MetricPoint, RunStatus, ShardStatus, Stage, StageStatus
from app.services import engine
from app.services.engine import Cause, Report
from tests.integration.engine.conftest import Hands
from tests.runs import submit

CAUSE = Cause("boom", "it broke")


class TestClaim:
    def test_is_given_once(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        claim = hands.claim(run)

        assert (claim.token, claim.attempt) == (1, 1)
        assert hands.try_claim(claim.shard_id) is None

    def test_an_expired_lease_is_free(self, session: Session, hands: Hands) -> None:
        claim = hands.claim(submit(session, shards=1))
        hands.expire(claim.shard_id)

        again = hands.try_claim(claim.shard_id)

        assert again is not None
        assert (again.token, again.attempt) == (2, 2)

    @pytest.mark.parametrize("shard_id", ["shard_none", "", "x" * 5000])
    def test_an_unknown_shard_means_nothing(self, session: Session, hands: Hands, shard_id: str) -> None:
        assert hands.try_claim(shard_id) is None

    def test_a_finished_shard_means_nothing(self, session: Session, hands: Hands) -> None:
        claim = hands.claim(submit(session, shards=2))
        hands.complete(claim)

        assert hands.try_claim(claim.shard_id) is None


class TestStaleToken:
    def test_writes_nothing(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        stale = hands.claim(run, "first")
        hands.expire(stale.shard_id)
        fresh = hands.try_claim(stale.shard_id, "second")
        assert fresh is not None
        held = (stale.shard_id, stale.token)

        assert not engine.holds(session, *held)
        assert engine.renew(session, *held, lease_s=15) is engine.Wish.LOST
        assert not engine.record(session, *held, reports=[Report(1, 1)], seconds=9)
        assert not hands.complete(stale)
        assert not engine.fail_attempt(session, *held, CAUSE)
        assert not engine.release(session, *held)
        assert not engine.pause_for(session, *held, reason="no")
        shard = hands.shard(stale.shard_id)
        assert (shard.status, shard.worker, shard.attempt) == (ShardStatus.RUNNING, "second", 2)
        assert engine.holds(session, fresh.shard_id, fresh.token)
        assert hands.complete(fresh)

    def test_a_second_end_is_ignored(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=2)
        claim = hands.claim(run)

        assert hands.complete(claim)
        assert not hands.complete(claim)

        stage = session.scalars(select(Stage).where(Stage.run_id == run.id)).one()
        assert stage.done_shards == 1


class TestFailAttempt:
    def test_below_the_ceiling_the_next_one_tries(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        hands.rung(run)
        claim = hands.claim(run)

        engine.fail_attempt(session, claim.shard_id, claim.token, CAUSE)

        shard = hands.shard(claim.shard_id)
        assert (shard.status, shard.attempt) == (ShardStatus.QUEUED, 1)
        assert shard.error == {
            "code": "boom", "detail": "it broke", "stage": "sample", "shard": shard.id, "attempt": 1,
        }  # fmt: skip
        assert hands.rung(run) == [shard.id]
        assert "shard.attempt_failed" in hands.events(run)

    def test_at_the_ceiling_the_run_fails_with_the_cause(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=2, max_attempts=3)
        victim, other = hands.queued(run)
        bystander = hands.try_claim(other)
        assert bystander is not None
        for _ in range(3):
            claim = hands.try_claim(victim)
            assert claim is not None
            engine.fail_attempt(session, claim.shard_id, claim.token, CAUSE)

        failed = hands.reload(run)
        assert failed.status is RunStatus.FAILED
        assert failed.error is not None
        assert failed.error["code"] == "boom"
        assert (failed.error["shard"], failed.error["attempt"]) == (victim, 3)
        assert hands.shard(other).status is ShardStatus.CANCELLED
        assert not hands.complete(bystander)
        assert engine.renew(session, bystander.shard_id, bystander.token, lease_s=15) is engine.Wish.LOST
        assert session.scalars(select(Stage.status).where(Stage.run_id == run.id)).one() is StageStatus.FAILED

    def test_a_refusal_is_final(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        claim = hands.claim(run)

        engine.fail_attempt(session, claim.shard_id, claim.token, CAUSE, retryable=False)

        assert hands.reload(run).status is RunStatus.FAILED


class TestRelease:
    def test_does_not_count(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1, max_attempts=1)
        for _ in range(5):
            claim = hands.claim(run)
            assert engine.release(session, claim.shard_id, claim.token)

        assert hands.shard(claim.shard_id).attempt == 0
        assert hands.shard(claim.shard_id).lease_token == 5

    def test_an_interrupted_holder_s_shard_is_rung_at_once(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        hands.rung(run)
        claim = hands.claim(run)

        engine.release(session, claim.shard_id, claim.token)

        assert hands.rung(run) == [claim.shard_id]
        assert "shard.given_back" not in hands.events(run)


class TestRecord:
    def test_a_range_counts_prompts(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=8, sample={"prompts_per_shard": 8})
        claim = hands.claim(run)

        engine.record(session, claim.shard_id, claim.token, reports=[Report(16, 32, {"speed": 2.0})], seconds=1.5)

        stage = session.scalars(select(Stage).where(Stage.run_id == run.id)).one()
        assert (stage.done_units, stage.total_units, stage.compute_seconds) == (4, 8, 1.5)
        assert hands.shard(claim.shard_id).progress == {"step": 16, "total": 32, "metrics": {"speed": 2.0}}
        hands.complete(claim, units=8)
        session.refresh(stage)
        assert (stage.done_units, stage.total_units) == (8, 8)

    def test_training_counts_steps_and_keeps_each_ones_metrics(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=0, stop_after="reward_model")
        stage = hands.session.scalars(
            select(Stage).where(Stage.run_id == run.id, Stage.status == StageStatus.RUNNING)
        ).one()
        while stage.kind.value != "reward_model":
            hands.complete(hands.claim(run))
            stage = session.scalars(
                select(Stage).where(Stage.run_id == run.id, Stage.status == StageStatus.RUNNING)
            ).one()
        claim = hands.claim(run)
        held = (claim.shard_id, claim.token)

        engine.record(session, *held, reports=[Report(1, 20, {"loss": 0.7}), Report(2, 20, {"loss": 0.6})], seconds=1)
        engine.record(session, *held, reports=[Report(2, 20, {"loss": math.nan})], seconds=1)

        session.refresh(stage)
        assert (stage.done_units, stage.total_units) == (2, 20)
        points = session.execute(select(MetricPoint.step, MetricPoint.data).order_by(MetricPoint.step)).all()
        assert [tuple(point) for point in points] == [(1, {"loss": 0.7}), (2, {"loss": None})]

    def test_the_pace_is_that_of_what_was_not_lost(self, session: Session, hands: Hands) -> None:
        """A training that goes on from its last saved state takes up steps that were counted before."""
        run = submit(session, shards=0, stop_after="reward_model")
        while (claim := hands.claim(run)).kind.value != "reward_model":
            hands.complete(claim)
        engine.record(session, claim.shard_id, claim.token, reports=[Report(14, 20)], seconds=1)
        engine.release(session, claim.shard_id, claim.token)
        claim = hands.claim(run)
        engine.record(session, claim.shard_id, claim.token, reports=[Report(11, 20)], seconds=1)
        engine.record(session, claim.shard_id, claim.token, reports=[Report(13, 20)], seconds=1)

        stage = session.get_one(Stage, claim.stage_id, populate_existing=True)
        assert (stage.pace_units, stage.done_units) == (11, 13)

    def test_the_budget_of_compute_seconds_pauses(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=2, budget={"compute_seconds": 10.0})
        claim = hands.claim(run)
        held = (claim.shard_id, claim.token)

        engine.record(session, *held, reports=[], seconds=9)
        assert engine.wish(session, *held) is engine.Wish.CONTINUE
        engine.record(session, *held, reports=[], seconds=1)
        assert engine.wish(session, *held) is engine.Wish.PAUSE
        engine.release(session, *held)

        paused = hands.reload(run)
        assert paused.status is RunStatus.PAUSED
        assert paused.pause_reason == "budget.compute_seconds 10 is reached: 10.0 s were spent"

    def test_polls_see_a_new_version(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1)
        claim = hands.claim(run)
        before = hands.reload(run).version

        engine.record(session, claim.shard_id, claim.token, reports=[], seconds=1)

        assert hands.reload(run).version > before


class TestPauseFor:
    def test_gives_back_and_pauses_with_the_reason(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=2)
        claim = hands.claim(run)

        engine.pause_for(session, claim.shard_id, claim.token, reason="5 USD are spent")

        paused = hands.reload(run)
        assert (paused.status, paused.pause_reason) == (RunStatus.PAUSED, "5 USD are spent")
        assert hands.shard(claim.shard_id).attempt == 0
