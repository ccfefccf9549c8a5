"""A shard's lease as its holder keeps it: a thread with a connection of its own that renews, reports and listens."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from app.config import Settings
from app.db.session import SessionFactory
from app.services import engine
from app.services.engine import Report, Wish
from workers.stages.contract import LeaseLost

log = logging.getLogger(__name__)

AWAY = (OperationalError, InterfaceError, PoolTimeout)
"""The database does not answer, has restarted, or a lock was not granted in time: worth another try."""

_CONNECTION_LOST = ("08", "57P")
"""SQLSTATE classes: connection exceptions, and a server that shuts down or starts."""

RETRY_S = 0.5
Result = TypeVar("Result")


def is_away(error: Exception) -> bool:
    """Whether the database was gone, which is nobody's fault; a full disk or a bad statement is not that."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    state: str | None = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or state is None or state.startswith(_CONNECTION_LOST)


def fenced(session: Session, shard_id: str, token: int, *, lease_s: float) -> None:
    """Begin a holder's transaction. Raises LeaseLost when the token is stale.

    A holder that is suspended in the middle is cut off after the time of a lease, so that its lock does not outlive it.
    """
    session.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = {round(lease_s * 1000)}"))
    if not engine.holds(session, shard_id, token):
        raise LeaseLost(f"shard {shard_id} is no longer held under token {token}; nothing was written")


def persist(
    sessions: SessionFactory, operation: Callable[[Session], Result], *, may_wait: Callable[[], bool]
) -> Result:
    """Commit one operation, again and again while the database is away and waiting is allowed."""
    while True:
        try:
            with sessions.begin() as session:
                return operation(session)
        except AWAY as error:
            if not may_wait():
                raise
            log.warning("the database is away, trying again: %s", error)
            time.sleep(RETRY_S)


@dataclass(frozen=True, slots=True)
class Done:
    """What a holder did since it was last recorded. `idle_s` is the time since its last report, recorded or not."""

    reports: list[Report]
    seconds: float
    idle_s: float


class Lease(threading.Thread):
    """Renews from `start()` to `stop()`. `deadline` is when, without another renewal, the shard is no longer ours."""

    def __init__(
        self, sessions: SessionFactory, settings: Settings, *, shard_id: str, token: int, claimed_at: float
    ) -> None:
        super().__init__(daemon=True, name=f"lease-{shard_id}")
        self._sessions = sessions
        self._settings = settings
        self._shard_id = shard_id
        self._token = token
        self._reports: list[Report] = []
        self._recorded_at = claimed_at
        self._reported_at = claimed_at
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.deadline = claimed_at + settings.lease_s
        self.wish = Wish.CONTINUE

    def run(self) -> None:
        beat = self._settings.heartbeat_s
        next_beat = time.monotonic() + beat
        while not self._stopped.wait(min(1.0, beat / 2)):
            try:
                if time.monotonic() < next_beat:
                    self._listen()
                    continue
                self._renew()
                next_beat = time.monotonic() + beat
                self._record()
            except AWAY as error:
                log.warning("heartbeat of shard %s failed: %s", self._shard_id, error)

    def stop(self) -> None:
        """No renewal begins after this; one that hangs is left behind."""
        self._stopped.set()
        self.join(timeout=2.0)

    def add(self, report: Report) -> None:
        with self._lock:
            self._reports.append(report)
            self._reported_at = time.monotonic()

    def take(self) -> Done:
        """What has not been recorded yet."""
        with self._lock:
            reports, self._reports = self._reports, []
            now = time.monotonic()
            seconds, self._recorded_at = now - self._recorded_at, now
            return Done(reports, seconds, now - self._reported_at)

    def _renew(self) -> None:
        asked_at = time.monotonic()
        with self._sessions.begin() as session:
            self.wish = engine.renew(session, self._shard_id, self._token, lease_s=self._settings.lease_s)
        if self.wish is not Wish.LOST:
            self.deadline = asked_at + self._settings.lease_s

    def _listen(self) -> None:
        with self._sessions() as session:
            self.wish = engine.wish(session, self._shard_id, self._token)

    def _record(self) -> None:
        done = self.take()
        try:
            with self._sessions.begin() as session:
                engine.record(session, self._shard_id, self._token, reports=done.reports, seconds=done.seconds)
        except AWAY:
            self._put_back(done)
            raise

    def _put_back(self, done: Done) -> None:
        with self._lock:
            self._reports = done.reports + self._reports
            self._recorded_at -= done.seconds
