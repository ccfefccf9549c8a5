"""What cannot go on now waits: nobody takes it up too early, and whoever looks sees what it waits for."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.db.models import Event, Run, ShardStatus, Stage
from app.services import engine
from app.services.engine import Cause, Report
from tests.integration.engine.conftest import Hands
from tests.runs import submit

DOWN = Cause("judge_unavailable", "judge 'gpt' is out of reach")
AN_HOUR_PASSES = text(
    "UPDATE shards SET rung_at = rung_at - interval '1 hour', not_before = not_before - interval '1 hour'"
)


@pytest.fixture
def run(session: Session, hands: Hands) -> Run:
    """A run of one shard whose first doorbell was answered."""
    run = submit(session, shards=1, max_attempts=1)
    hands.rung(run)
    return run


def give_back(session: Session, hands: Hands, run: Run, cause: Cause = DOWN, wait_s: float | None = None) -> str:
    claim = hands.claim(run)
    assert engine.release(session, claim.shard_id, claim.token, cause=cause, wait_s=wait_s)
    return claim.shard_id


def wait_of(session: Session, hands: Hands, shard_id: str) -> float:
    """Seconds for which nobody may begin again."""
    until = hands.shard(shard_id).not_before
    assert until is not None
    return (until - session.scalars(select(func.now())).one()).total_seconds()


def ring(session: Session) -> int:
    return engine.ring_silent(session, queue="gpu", silence_s=8, limit=10)


def stage_of(session: Session, run: Run) -> Stage:
    return session.scalars(
        select(Stage).where(Stage.run_id == run.id), execution_options={"populate_existing": True}
    ).one()


class TestWaiting:
    def test_nobody_takes_it_up_before_its_time(self, session: Session, hands: Hands, run: Run) -> None:
        shard_id = give_back(session, hands, run, wait_s=3000)
        session.execute(text("UPDATE shards SET rung_at = rung_at - interval '1 hour'"))

        assert (hands.rung(run), ring(session), hands.try_claim(shard_id)) == ([], 0, None)
        session.execute(AN_HOUR_PASSES)
        assert ring(session) == 1
        assert hands.rung(run) == [shard_id]
        assert hands.complete(hands.claim(run))

    def test_no_attempt_is_burned(self, session: Session, hands: Hands, run: Run) -> None:
        for _ in range(5):
            shard_id = give_back(session, hands, run)
            session.execute(AN_HOUR_PASSES)

        assert (hands.shard(shard_id).attempt, hands.shard(shard_id).status) == (0, ShardStatus.QUEUED)

    def test_each_wait_is_longer_up_to_a_minute(self, session: Session, hands: Hands, run: Run) -> None:
        waits = []
        for _ in range(6):
            waits.append(wait_of(session, hands, give_back(session, hands, run)))
            session.execute(AN_HOUR_PASSES)

        assert waits == [5, 10, 20, 40, 60, 60]

    def test_progress_ends_the_row(self, session: Session, hands: Hands, run: Run) -> None:
        give_back(session, hands, run)
        session.execute(AN_HOUR_PASSES)
        claim = hands.claim(run)
        engine.record(session, claim.shard_id, claim.token, reports=[Report(1, 2)], seconds=1)
        engine.release(session, claim.shard_id, claim.token, cause=DOWN)

        assert wait_of(session, hands, claim.shard_id) == 5

    @pytest.mark.parametrize(("asked", "given"), [(90, 90), (7200, 3600), (0, 0)])
    def test_the_endpoint_s_own_word_counts_for_an_hour_at_most(
        self, session: Session, hands: Hands, run: Run, asked: float, given: float
    ) -> None:
        assert wait_of(session, hands, give_back(session, hands, run, wait_s=asked)) == given

    def test_resuming_asks_at_once(self, session: Session, hands: Hands, run: Run) -> None:
        shard_id = give_back(session, hands, run, wait_s=3000)
        engine.request_pause(session, run, "lunch")
        engine.resume(session, run)

        assert hands.rung(run) == [shard_id]
        assert hands.try_claim(shard_id) is not None


class TestWhatItWaitsFor:
    def test_is_kept_with_the_moment_it_began(self, session: Session, hands: Hands, run: Run) -> None:
        shard_id = give_back(session, hands, run)
        began = session.scalars(select(func.now())).one().isoformat()

        assert stage_of(session, run).waiting_for == {"code": DOWN.code, "detail": DOWN.detail, "since": began}
        assert (hands.shard(shard_id).error or {})["detail"] == DOWN.detail

    def test_is_news_once_in_a_row(self, session: Session, hands: Hands, run: Run) -> None:
        for _ in range(3):
            give_back(session, hands, run)
            session.execute(AN_HOUR_PASSES)
        give_back(session, hands, run, Cause("database_away", "no connection"))

        told = session.scalars(select(Event).where(Event.run_id == run.id, Event.type == "shard.given_back")).all()
        assert [event.data["code"] for event in told] == ["judge_unavailable", "database_away"]
        assert told[0].data["detail"] == DOWN.detail

    @pytest.mark.parametrize("end", ["report", "complete", "fail"])
    def test_is_over_once_anything_happens(self, session: Session, hands: Hands, run: Run, end: str) -> None:
        give_back(session, hands, run)
        session.execute(AN_HOUR_PASSES)
        claim = hands.claim(run)
        assert stage_of(session, run).waiting_for is not None
        match end:
            case "report":
                engine.record(session, claim.shard_id, claim.token, reports=[Report(1, 2)], seconds=1)
            case "complete":
                hands.complete(claim)
            case _:
                engine.fail_attempt(session, claim.shard_id, claim.token, Cause("boom", "it broke"))

        assert stage_of(session, run).waiting_for is None

    def test_an_interrupted_holder_is_no_obstacle(self, session: Session, hands: Hands, run: Run) -> None:
        claim = hands.claim(run)
        engine.release(session, claim.shard_id, claim.token)

        assert stage_of(session, run).waiting_for is None
