"""One LISTEN connection a process tells every waiting request when its run has changed.

A notification is a hint, never the news: whoever is woken reads the database. While the connection is down nobody is
woken; once it is back everybody is, so nothing is missed for longer than the outage.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Annotated

import psycopg
from fastapi import Depends, Request
from sqlalchemy import make_url

from app.observability import log

CHANNEL = "rlaif_runs"
_RECONNECT_S = 1.0
_CONNECT_S = 5


class RunNotifications:
    """Starts to listen with the first request that waits; belongs to one event loop."""

    def __init__(self, database_url: str) -> None:
        self._conninfo = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._bells: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._listening: asyncio.Task[None] | None = None

    @contextmanager
    def subscribe(self, run_id: str) -> Iterator[asyncio.Event]:
        """An event that is set at every change of the run from now on; the waiter clears it before it reads."""
        if self._listening is None:
            self._listening = asyncio.get_running_loop().create_task(self._listen(), name="run-notifications")
        bell = asyncio.Event()
        self._bells[run_id].add(bell)
        try:
            yield bell
        finally:
            self._bells[run_id].discard(bell)
            if not self._bells[run_id]:
                del self._bells[run_id]

    async def close(self) -> None:
        """Stop listening and wake everybody for the last time."""
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening
            self._listening = None
        self._ring_all()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._connection() as connection:
                    self._ring_all()
                    async for notice in connection.notifies():
                        self._ring(notice.payload)
            except psycopg.Error as error:
                log.warning("notifications_lost", cause=str(error).splitlines()[0][:300])
            await asyncio.sleep(_RECONNECT_S)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
        connection = await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True, connect_timeout=_CONNECT_S, application_name="rlaif-notifications"
        )
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}".encode())
            yield connection

    def _ring(self, run_id: str) -> None:
        for bell in self._bells.get(run_id, ()):
            bell.set()

    def _ring_all(self) -> None:
        for bells in self._bells.values():
            for bell in bells:
                bell.set()


async def run_notifications(request: Request) -> RunNotifications:
    notifications: RunNotifications = request.app.state.notifications
    return notifications


Notifications = Annotated[RunNotifications, Depends(run_notifications)]
