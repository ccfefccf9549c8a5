"""A state machine in which everything happens in any order, against a small pure model and against PostgreSQL.

Invariants hold after every step; at the end, a patient rescuer and an honest worker bring every run to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import create_engine, delete, select, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app.db.models import Outbox, Run, Shard
from app.errors import Conflict
from app.services import engine
from app.services.engine import Cause
from tests.integration.engine.conftest import EXPIRE, LEASE_S
from tests.runs import submit

MAX_ATTEMPTS = 3
INDEX = st.integers(0, 5)
SILENCE = text("UPDATE shards SET rung_at = now() - interval '1 hour'")


@dataclass
class ModelShard:
    status: str = "queued"
    attempt: int = 0
    token: int = 0
    expired: bool = False

    @property
    def open(self) -> bool:
        return self.status in ("queued", "running")


@dataclass
class ModelRun:
    id: str
    shards: dict[str, ModelShard]
    status: str = "queued"
    cancel: bool = False
    pause: bool = False
    claimed: bool = False
    tokens: list[tuple[str, int]] = field(default_factory=list)

    @property
    def terminal(self) -> bool:
        return self.status in ("succeeded", "failed", "cancelled")

    @property
    def runnable(self) -> bool:
        return self.status in ("queued", "running") and not self.cancel and not self.pause

    def end(self, status: str) -> None:
        self.status = status
        for shard in self.shards.values():
            if shard.open:
                shard.status, shard.token = "cancelled", shard.token + 1

    def settle(self) -> None:
        if self.terminal or not (self.cancel or self.pause):
            return
        if self.cancel:
            for shard in self.shards.values():
                if shard.status == "queued":
                    shard.status = "cancelled"
        if any(shard.status == "running" for shard in self.shards.values()):
            return
        if self.cancel:
            self.end("cancelled")
        else:
            self.status = "paused"

    def give_back(self, shard: ModelShard) -> None:
        shard.attempt -= 1
        shard.status = "cancelled" if self.cancel else "queued"
        self.settle()

    def fail(self, shard: ModelShard, *, retryable: bool) -> None:
        if self.cancel:
            shard.status = "cancelled"
        elif retryable and shard.attempt < MAX_ATTEMPTS:
            shard.status = "queued"
        else:
            shard.status = "failed"
            self.end("failed")
        self.settle()


class Machine(RuleBasedStateMachine):
    url: str

    def __init__(self) -> None:
        super().__init__()
        self._engine = create_engine(self.url, poolclass=NullPool)
        self._connection = self._engine.connect()
        self._connection.begin()
        self.session = Session(self._connection, join_transaction_mode="create_savepoint", expire_on_commit=False)
        self.runs: list[ModelRun] = []
        self.broker: list[str] = []
        self.highest: dict[str, int] = {}

    def teardown(self) -> None:
        self.bring_to_an_end()
        self.session.close()
        self._connection.close()
        self._engine.dispose()

    # What clients do

    @precondition(lambda self: len(self.runs) < 2)
    @rule(shards=st.integers(1, 2))
    def submit(self, shards: int) -> None:
        run = submit(self.session, shards=shards, max_attempts=MAX_ATTEMPTS)
        ids = self.session.scalars(select(Shard.id).where(Shard.run_id == run.id).order_by(Shard.position))
        self.runs.append(ModelRun(run.id, {id_: ModelShard() for id_ in ids}))

    @precondition(lambda self: self.runs)
    @rule(index=INDEX)
    def cancel(self, index: int) -> None:
        model = self.pick(index)
        if self.refused(lambda run: engine.request_cancel(self.session, run), model):
            assert model.status in ("succeeded", "failed")
            return
        if not model.terminal:
            model.cancel = True
            model.settle()

    @precondition(lambda self: self.runs)
    @rule(index=INDEX)
    def pause(self, index: int) -> None:
        model = self.pick(index)
        if self.refused(lambda run: engine.request_pause(self.session, run, "a test"), model):
            assert model.terminal or model.cancel
        elif not model.pause:
            model.pause = True
            model.settle()

    @precondition(lambda self: self.runs)
    @rule(index=INDEX)
    def resume(self, index: int) -> None:
        model = self.pick(index)
        if self.refused(lambda run: engine.resume(self.session, run), model):
            assert model.terminal or model.cancel or not model.pause
        else:
            model.pause = False
            model.status = "running" if model.claimed else "queued"

    @precondition(lambda self: self.runs)
    @rule(index=INDEX)
    def retry(self, index: int) -> None:
        model = self.pick(index)
        if self.refused(lambda run: engine.retry(self.session, run), model):
            assert model.status != "failed"
            return
        model.status, model.pause = ("running" if model.claimed else "queued"), False
        for shard in model.shards.values():
            if shard.status in ("failed", "cancelled"):
                shard.status, shard.attempt = "queued", 0

    # What the broker and the relay do

    @rule()
    def relay(self) -> None:
        self.broker += self.session.scalars(select(Outbox.shard_id).order_by(Outbox.id))
        self.session.execute(delete(Outbox))

    @rule()
    def wipe_broker(self) -> None:
        self.broker.clear()

    @precondition(lambda self: self.broker)
    @rule(index=INDEX, twice=st.booleans())
    def deliver(self, index: int, twice: bool) -> None:
        shard_id = self.broker[index % len(self.broker)]
        if not twice:
            self.broker.remove(shard_id)
        self.claim(shard_id)

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, which=INDEX)
    def ring_out_of_the_blue(self, index: int, which: int) -> None:
        model = self.pick(index)
        self.claim(list(model.shards)[which % len(model.shards)])

    # What workers do

    def claim(self, shard_id: str) -> None:
        model = next(run for run in self.runs if shard_id in run.shards)
        shard = model.shards[shard_id]
        free = shard.status == "queued" or (shard.status == "running" and shard.expired)
        claim = engine.claim(self.session, shard_id, worker="worker", lease_s=LEASE_S)
        assert (claim is not None) == (model.runnable and free and shard.attempt < MAX_ATTEMPTS)
        if claim is None:
            return
        shard.status, shard.expired = "running", False
        shard.attempt, shard.token = shard.attempt + 1, shard.token + 1
        model.status, model.claimed = "running", True
        model.tokens.append((shard_id, claim.token))
        assert claim.token == shard.token

    @precondition(lambda self: any(run.tokens for run in self.runs))
    @rule(index=INDEX, which=INDEX, end=st.sampled_from(["complete", "fail", "refuse", "release", "budget", "beat"]))
    def holder(self, index: int, which: int, end: str) -> None:
        """A holder, perhaps a stale one, speaks."""
        held = [run for run in self.runs if run.tokens]
        model = held[index % len(held)]
        shard_id, token = model.tokens[-1 - which % len(model.tokens)]
        shard = model.shards[shard_id]
        current = shard.status == "running" and shard.token == token
        assert engine.holds(self.session, shard_id, token) == current
        assert self.speak(end, shard_id, token) == current
        if current:
            self.follow(end, model, shard)

    def speak(self, end: str, shard_id: str, token: int) -> bool:
        match end:
            case "complete":
                return engine.complete(self.session, shard_id, token, units=1, metrics={})
            case "release":
                return engine.release(self.session, shard_id, token)
            case "budget":
                return engine.pause_for(self.session, shard_id, token, reason="spent")
            case "beat":
                engine.record(self.session, shard_id, token, reports=[], seconds=1)
                return engine.renew(self.session, shard_id, token, lease_s=LEASE_S) is not engine.Wish.LOST
        cause = Cause("code", "detail")
        return engine.fail_attempt(self.session, shard_id, token, cause, retryable=end == "fail")

    def follow(self, end: str, model: ModelRun, shard: ModelShard) -> None:
        match end:
            case "complete":
                shard.status = "succeeded"
                if all(one.status == "succeeded" for one in model.shards.values()) and not model.cancel:
                    model.end("succeeded")
                model.settle()
            case "release":
                model.give_back(shard)
            case "budget":
                model.pause = model.pause or not model.cancel
                model.give_back(shard)
            case "beat":
                shard.expired = False
            case _:
                model.fail(shard, retryable=end == "fail")

    # What time and the rescuer do

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, which=INDEX)
    def expire(self, index: int, which: int) -> None:
        model = self.pick(index)
        running = [(id_, shard) for id_, shard in model.shards.items() if shard.status == "running"]
        if running:
            shard_id, shard = running[which % len(running)]
            self.session.execute(EXPIRE.bindparams(shard=shard_id))
            shard.expired = True

    @precondition(lambda self: self.runs)
    @rule(index=INDEX, which=INDEX, end=st.sampled_from(["complete", "fail", "release", "budget", "beat"]))
    def overtake(self, index: int, which: int, end: str) -> None:
        """A holder falls silent, another takes its shard over, and then the first one speaks."""
        self.expire(index, which)
        for model in self.runs:
            for shard_id, shard in model.shards.items():
                if shard.expired:
                    token = shard.token
                    self.claim(shard_id)
                    assert shard.token == token or not self.speak(end, shard_id, token)

    @rule()
    def recover(self) -> None:
        for model in self.runs:
            for shard_id, shard in model.shards.items():
                lost = shard.status == "running" and shard.expired
                assert engine.recover(self.session, shard_id) == lost
                if lost:
                    model.fail(shard, retryable=True)

    @precondition(lambda self: self.runs)
    @rule(index=INDEX)
    def stop(self, index: int) -> None:
        model = self.pick(index)
        engine.stop(self.session, model.id)
        if (model.cancel or model.pause) and not model.terminal:
            for shard in model.shards.values():
                if shard.status == "running":
                    model.give_back(shard)
            model.settle()

    @rule()
    def ring_silent(self) -> None:
        self.session.execute(SILENCE)
        engine.ring_silent(self.session, queue="gpu", silence_s=8, limit=100)

    # What must always be so

    @invariant()
    def agrees_with_the_model(self) -> None:
        self.session.expire_all()
        for model in self.runs:
            assert self.session.get_one(Run, model.id).status == model.status
            for shard in self.session.scalars(select(Shard).where(Shard.run_id == model.id)):
                expected = model.shards[shard.id]
                assert (shard.status, shard.attempt) == (expected.status, expected.attempt)
                assert shard.lease_token == expected.token
                assert shard.lease_token >= self.highest.get(shard.id, 0)
                self.highest[shard.id] = shard.lease_token

    def bring_to_an_end(self) -> None:
        """Nothing stays where no one would ever look for it."""
        for model in self.runs:
            if model.pause and not model.terminal and not model.cancel:
                self.resume(self.runs.index(model))
        for _ in range(40):
            self.ring_silent()
            self.relay()
            for model in self.runs:
                for shard_id, shard in model.shards.items():
                    if shard.status == "running":
                        self.session.execute(EXPIRE.bindparams(shard=shard_id))
                        shard.expired = True
            self.recover()
            while self.broker:
                self.deliver(0, False)
                self.finish_newest()
        assert all(model.terminal for model in self.runs)

    def finish_newest(self) -> None:
        for model in self.runs:
            for shard_id, shard in model.shards.items():
                if shard.status == "running" and not shard.expired:
                    assert self.speak("complete", shard_id, shard.token)
                    self.follow("complete", model, shard)

    def pick(self, index: int) -> ModelRun:
        return self.runs[index % len(self.runs)]

    def refused(self, request: Callable[[Run], Any], model: ModelRun) -> bool:
        """Whether the engine answered 409."""
        try:
            request(self.session.get_one(Run, model.id))
        except Conflict:
            return True
        return False


def test_any_order_of_everything(rolled_back_database: str) -> None:
    Machine.url = rolled_back_database
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=50,
            deadline=None,
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
