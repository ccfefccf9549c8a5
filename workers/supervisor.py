"""One shard from claim to commit: its child is watched, its lease kept, its end written down.

The supervisor never raises from a signal: it sees a flag. It stops its child before the lease ends.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time

from sqlalchemy.orm import Session

from app.config import Settings
from app.db.session import SessionFactory
from app.services import engine
from app.services.engine import Cause, Claim, Wish
from workers import scratch
from workers.child import Ended, How
from workers.forkserver import Child
from workers.lease import Lease, persist
from workers.stages.contract import JUDGE_UNAVAILABLE, ShardWork

log = logging.getLogger(__name__)

POLL_S = 0.2
MARGIN_S = 0.5
"""How long before its lease ends a child is killed."""

CLAIM_PATIENCE_S = 5.0
STOPPING_PATIENCE_S = 3.0


class Worker:
    """What the supervisors of one worker process share. `stopping` is set by a signal and looked at often."""

    def __init__(self, settings: Settings, sessions: SessionFactory) -> None:
        self.settings = settings
        self.sessions = sessions
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.stopping = False


def supervise(worker: Worker, shard_id: str) -> None:
    """Run one shard if it is free; a doorbell for anything else means nothing."""
    if worker.stopping:
        return
    began = time.monotonic()

    def claim(session: Session) -> tuple[float, Claim | None]:
        now, settings = time.monotonic(), worker.settings
        return now, engine.claim(session, shard_id, worker=worker.name, lease_s=settings.lease_s)

    claimed_at, work = persist(
        worker.sessions, claim, may_wait=lambda: not worker.stopping and time.monotonic() < began + CLAIM_PATIENCE_S
    )
    if work is not None:
        Supervision(worker, work, claimed_at=claimed_at).run()


class Supervision:
    """The time of one holder with one shard."""

    def __init__(self, worker: Worker, claim: Claim, *, claimed_at: float) -> None:
        self._worker = worker
        self._work = ShardWork.of(claim)
        self._lease = Lease(
            worker.sessions, worker.settings, shard_id=claim.shard_id, token=claim.token, claimed_at=claimed_at
        )
        self._asked_at: float | None = None

    def run(self) -> None:
        self._lease.start()
        try:
            child = Child(self._work, self._worker.settings)
            try:
                ended = self._watch(child)
            finally:
                child.kill()
        finally:
            self._lease.stop()
        if ended.how is How.LOST:
            log.warning("shard %s: %s", self._work.shard_id, ended.detail)
        else:
            self._write_down(ended)

    def _watch(self, child: Child) -> Ended:
        """Until the child has ended by itself or had to be killed."""
        while True:
            gone = child.exitcode()
            for message in child.messages(timeout_s=0 if gone is not None else POLL_S):
                if isinstance(message, Ended):
                    return message
                self._lease.add(message)
            if gone is not None:
                return _death(gone)
            if (reason := self._must_end()) is not None:
                return reason
            if self._asked_at is None and self._should_stop():
                self._asked_at = time.monotonic()
                child.ask_to_stop()

    def _should_stop(self) -> bool:
        return self._worker.stopping or self._lease.wish is not Wish.CONTINUE

    def _must_end(self) -> Ended | None:
        now = time.monotonic()
        if self._lease.wish is Wish.LOST:
            return Ended(How.LOST, "lease_lost", "the shard was taken over, or its run has ended; the child is killed")
        if now > self._lease.deadline - MARGIN_S:
            return Ended(How.GIVEN_BACK, "lease_ending", "the lease could not be renewed in time; the child is killed")
        if self._asked_at is not None and now > self._asked_at + self._worker.settings.stop_grace_s:
            return Ended(How.GIVEN_BACK, "stopped", "the child did not stop when asked and was killed")
        return None

    def _write_down(self, ended: Ended) -> None:
        """Commit the end. The token decides whether it still counts, however long the database was away."""
        shard_id, token = self._work.shard_id, self._work.token
        waited_from = time.monotonic()
        done = self._lease.take()
        # Heartbeats have charged for the time that the child waited for a judge that is not there: it is taken back.
        seconds = done.seconds - done.idle_s if ended.code == JUDGE_UNAVAILABLE else done.seconds

        def may_wait() -> bool:
            return not self._worker.stopping or time.monotonic() < waited_from + STOPPING_PATIENCE_S

        def end(session: Session) -> bool:
            engine.record(session, shard_id, token, reports=done.reports, seconds=seconds)
            return self._end(session, ended)

        counted = persist(self._worker.sessions, end, may_wait=may_wait)
        if counted and ended.how is How.SUCCEEDED:
            scratch.forget(self._worker.settings.artifacts_dir, shard_id)
        late = "" if counted else "(too late: lease lost)"
        log.info("shard %s: %s %s %s %s", shard_id, ended.how, ended.code, ended.detail, late)

    def _end(self, session: Session, ended: Ended) -> bool:
        shard_id, token = self._work.shard_id, self._work.token
        interrupted = self._asked_at is not None and ended.how is not How.SUCCEEDED and ended.how is not How.REFUSED
        if interrupted:
            return engine.release(session, shard_id, token)
        match ended.how:
            case How.SUCCEEDED:
                return engine.complete(session, shard_id, token, units=ended.units, metrics=ended.metrics)
            case How.GIVEN_BACK:
                cause = Cause(ended.code, ended.detail)
                return engine.release(session, shard_id, token, cause=cause, wait_s=ended.retry_after_s)
            case How.OUT_OF_BUDGET:
                return engine.pause_for(session, shard_id, token, reason=ended.detail)
            case _:
                cause = Cause(ended.code, ended.detail)
                retryable = ended.how is not How.REFUSED
                return engine.fail_attempt(session, shard_id, token, cause, retryable=retryable)


def _death(exitcode: int) -> Ended:
    """A child that ended without a word."""
    if exitcode >= 0:
        return Ended(How.FAILED, "child_exited", f"the child process exited with code {exitcode} and no result")
    name = signal.Signals(-exitcode).name
    hint = " (out of memory?)" if -exitcode == signal.SIGKILL else ""
    return Ended(How.FAILED, "child_killed", f"the child process was killed by {name}{hint}")
