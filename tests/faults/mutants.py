"""The relay process with a safeguard taken out, so that the checker has something to find."""

from __future__ import annotations

import signal
import sys
import threading

from app.config import settings
from app.db.session import make_engine, make_session_factory
from app.repositories import outbox
from cli.stack.ready import announce
from workers.celery import app
from workers.lease import AWAY
from workers.relay import AWAY_S, BROKER_AWAY, Relay
from workers.rescuer import Rescuer


class ForgetfulRelay(Relay):
    """As if there were no outbox: a message is gone with the transaction that should have kept it."""

    def send_batch(self) -> int:
        with self._sessions.begin() as session:
            doorbells = outbox.claim(session, limit=500)
            outbox.forget(session, doorbells)
        try:
            with self._celery.producer_or_acquire() as producer:
                for doorbell in doorbells:
                    self._send(doorbell, producer)
        except BROKER_AWAY:
            return 0
        return len(doorbells)


class DeafRescuer(Rescuer):
    """Hears of expired leases, but never rings again."""

    def ring_silent(self) -> None:
        return


def main(mutant: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    sessions = make_session_factory(make_engine(settings(), pool_size=4))
    relay = ForgetfulRelay(sessions, app) if mutant == "no-outbox" else Relay(sessions, app)
    if mutant == "no-outbox":
        threading.Thread(target=DeafRescuer(sessions, settings()).run, args=(stop,), daemon=True).start()
    announce()
    while not stop.wait(0.1):
        try:
            relay.send_batch()
        except (*AWAY, *BROKER_AWAY):
            stop.wait(AWAY_S)


if __name__ == "__main__":
    main(sys.argv[1])
