"""Sends doorbells from the outbox to the broker. `python -m workers.relay` runs this and the rescuer in one process;
two of each may run side by side."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from celery import Celery
from kombu.exceptions import OperationalError as BrokerAway
from sqlalchemy import Connection, Engine, text

from app.config import Settings, settings
from app.db.session import SessionFactory, make_engine, make_session_factory
from app.repositories import outbox
from workers.celery import TASK, app
from workers.lease import AWAY
from workers.rescuer import Rescuer

log = logging.getLogger(__name__)

BROKER_AWAY = (BrokerAway, OSError)
"""What sending raises when the broker does not answer."""

BATCH = 500
POLL_S = 0.5
AWAY_S = 1.0


class Relay:
    """One sender. Rows are deleted in the transaction that locked them, after they were sent."""

    def __init__(self, sessions: SessionFactory, celery: Celery) -> None:
        self._sessions = sessions
        self._celery = celery

    def send_batch(self) -> int:
        """Send what waits, and say how much that was. Raises BrokerAway; what was not deleted is sent again."""
        with self._sessions.begin() as session:
            doorbells = outbox.claim(session, limit=BATCH)
            if doorbells:
                with self._celery.producer_or_acquire() as producer:
                    for doorbell in doorbells:
                        self._send(doorbell, producer)
                outbox.forget(session, doorbells)
        return len(doorbells)

    def _send(self, doorbell: outbox.Doorbell, producer: Any) -> None:
        self._celery.send_task(
            TASK, args=[doorbell.shard_id], queue=doorbell.queue, producer=producer, retry=False, ignore_result=True
        )

    def run(self, wake: Callable[[], None], stop: threading.Event) -> None:
        """Until told to stop: empty the outbox, then wait for a nudge."""
        while not stop.is_set():
            try:
                while self.send_batch() and not stop.is_set():
                    pass
                wake()
            except (*AWAY, *BROKER_AWAY, psycopg.OperationalError) as error:
                log.warning("relay waits: %s", error)
                stop.wait(AWAY_S)


class Nudge:
    """Waits for a new outbox row: LISTEN wakes it at once, and where that is impossible it is a poll."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def wait(self) -> None:
        """At most POLL_S. Raises what a database that is away raises."""
        try:
            if self._connection is None:
                self._connection = self._listen()
            driver: psycopg.Connection[Any] = self._connection.connection.driver_connection  # type: ignore[assignment]
            list(driver.notifies(timeout=POLL_S, stop_after=1))
        except BaseException:
            self.close()
            raise

    def _listen(self) -> Connection:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text(f"LISTEN {outbox.CHANNEL}"))
        return connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None


def run(settings: Settings, celery: Celery, stop: threading.Event) -> None:
    """Relay and rescuer, until `stop` is set."""
    engine = make_engine(settings, pool_size=4)
    sessions = make_session_factory(engine)
    nudge = Nudge(engine)
    rescuer = threading.Thread(target=Rescuer(sessions, settings).run, args=(stop,), name="rescuer")
    rescuer.start()
    try:
        Relay(sessions, celery).run(nudge.wait, stop)
    finally:
        stop.set()
        rescuer.join()
        nudge.close()
        engine.dispose()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run(settings(), app, stop)


if __name__ == "__main__":
    main()
