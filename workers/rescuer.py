"""Looks for what has gone silent: holders whose lease ran out, doorbells that were lost, wishes that nobody follows."""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

import redis

from app.config import Settings
from app.db.session import SessionFactory
from app.repositories import idempotency, models
from app.rlaif.pipeline import Queue
from app.services import canaries, engine
from workers.lease import AWAY
from workers.scratch import sweep

log = logging.getLogger(__name__)

STOP_PATIENCE_S = 7.0
"""A wish to stop is followed within 10 s of its request: by its holder before this, by the rescuer after it."""

FULL = 256
"""As long as this many doorbells lie in a queue, none is rung again: they are not lost, the workers are busy."""

SWEEP_S = 3600.0

KEYS_LAST = timedelta(days=7)
"""How long a POST can be repeated with its Idempotency-Key."""


class Rescuer:
    """One pass after another; every step is safe beside another rescuer's."""

    def __init__(self, sessions: SessionFactory, settings: Settings) -> None:
        self._sessions = sessions
        self._settings = settings
        self._broker = redis.Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2)
        self._patient_until = 0.0
        self._swept_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. Whatever a pass meets, the next one tries again."""
        while not stop.wait(self._settings.rescue_s):
            try:
                self.look()
            except AWAY as error:
                log.warning("rescuer waits for the database: %s", error)
                # Holders could not renew either: they get a lease's time to speak before they are given up.
                self._patient_until = time.monotonic() + self._settings.lease_s
            except redis.RedisError as error:
                log.warning("rescuer cannot look into the broker: %s", error)
            except Exception:
                log.exception("a rescuer's pass failed")
        self.close()

    def close(self) -> None:
        self._broker.close()

    def look(self) -> None:
        """One pass."""
        if time.monotonic() >= self._patient_until:
            self.recover_expired()
        self.follow_wishes()
        self.sweep()
        self.ring_silent()
        self.open_canaries()

    def recover_expired(self) -> None:
        with self._sessions() as session:
            expired = engine.expired(session)
        for shard_id in expired:
            with self._sessions.begin() as session:
                if engine.recover(session, shard_id):
                    log.warning("shard %s: its holder vanished", shard_id)

    def follow_wishes(self) -> None:
        with self._sessions() as session:
            runs = engine.not_stopping(session, patience_s=STOP_PATIENCE_S)
        for run_id in runs:
            with self._sessions.begin() as session:
                engine.stop(session, run_id)

    def open_canaries(self) -> None:
        """One that cannot be begun stands in no other's way: it is tried again, and the log says why."""
        with self._sessions() as session:
            due = canaries.due(session)
        for canary_id in due:
            try:
                with self._sessions.begin() as session:
                    canaries.open_due(session, canary_id)
            except AWAY:
                raise
            except Exception:
                log.exception("canary %s was not begun", canary_id)

    def ring_silent(self) -> None:
        """Fill short queues only: ringing for all that waits behind long shards would grow them without end."""
        for queue in Queue:
            room = FULL - int(self._broker.llen(queue.value))
            if room > 0:
                with self._sessions.begin() as session:
                    engine.ring_silent(session, queue=queue, silence_s=self._settings.ring_again_s, limit=room)

    def sweep(self) -> None:
        if time.monotonic() < self._swept_at + SWEEP_S and self._swept_at:
            return
        self._swept_at = time.monotonic()
        with self._sessions.begin() as session:
            idempotency.forget(session, older_than=KEYS_LAST)
        with self._sessions() as session:
            sweep(
                self._settings.artifacts_dir,
                is_open=lambda shard_id: engine.is_open(session, shard_id),
                is_model=lambda key: models.is_stored(session, key),
            )
