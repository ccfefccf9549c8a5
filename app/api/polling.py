"""Waiting for a run and for what is one: an ETag from its version, 304 while that stands, and an answer on change."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api.dependencies import Reader, ReadSessions
from app.api.notifications import Notifications, RunNotifications
from app.db.session import SessionFactory
from app.repositories.runs import RunMark
from app.services import runs

MAX_WAIT_S = 60
_RECHECK_S = 10.0  # between looks at the version while nobody rings: a lost notification costs no more
_POLL_AGAIN_S = "2"
_VERSION = re.compile(r'(?:W/)?"(\d{1,18})"')
UNCHANGED: dict[int | str, dict[str, str]] = {
    304: {"description": "Nothing has changed since the version in `If-None-Match`"}
}


@dataclass(frozen=True, slots=True)
class Poll:
    """`return await poll(run_id, wait, lambda session: (RunOut.of(...), RunMark(...)))`."""

    request: Request
    project_id: str
    sessions: SessionFactory
    notifications: RunNotifications

    async def __call__(
        self,
        run_id: str,
        wait_s: int,
        show: Callable[[Session], tuple[BaseModel, RunMark]],
        *,
        until_finished: bool = False,
    ) -> Response:
        """What `show` reads, or 304. With `wait_s`, after the next change; with `until_finished`, after the last one.

        Without a version in `If-None-Match` that is the next change from now on. Raises NotFound.
        """
        known = _versions(self.request)
        if known or wait_s:
            mark = await self._mark(run_id)
            if wait_s and not mark.status.terminal and (until_finished or not known or mark.version in known):
                mark = await self._awaited(run_id, since=None if until_finished else mark.version, wait_s=wait_s)
            if mark.version in known:
                return Response(status_code=304, headers=_headers(mark))
        return await run_in_threadpool(self._answer, show)

    async def _awaited(self, run_id: str, *, since: int | None, wait_s: int) -> RunMark:
        """The run's mark once its version is not `since`, or it has ended, or the time is up.

        Holds no connection while it waits.
        """
        deadline = asyncio.get_running_loop().time() + wait_s
        with self.notifications.subscribe(run_id) as bell:
            while True:
                bell.clear()
                mark = await self._mark(run_id)
                left = deadline - asyncio.get_running_loop().time()
                if mark.status.terminal or since not in (None, mark.version) or left <= 0:
                    return mark
                await rung(bell, timeout_s=min(left, _RECHECK_S))

    async def _mark(self, run_id: str) -> RunMark:
        return await run_in_threadpool(_mark, self.sessions, self.project_id, run_id)

    def _answer(self, show: Callable[[Session], tuple[BaseModel, RunMark]]) -> Response:
        with self.sessions() as session:
            shown, mark = show(session)
        return Response(shown.model_dump_json(), headers=_headers(mark), media_type="application/json")


async def polling(request: Request, caller: Reader, sessions: ReadSessions, notifications: Notifications) -> Poll:
    return Poll(request, caller.project_id, sessions, notifications)


Polling = Annotated[Poll, Depends(polling)]
Wait = Annotated[
    int, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for a change; a finished run answers at once")
]


async def rung(bell: asyncio.Event, *, timeout_s: float) -> bool:
    """Whether the bell rang in time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await bell.wait()
    except TimeoutError:
        return False


def _mark(sessions: SessionFactory, project_id: str, run_id: str) -> RunMark:
    with sessions() as session:
        return runs.mark(session, project_id, run_id)


def _versions(request: Request) -> set[int]:
    return {int(version) for version in _VERSION.findall(request.headers.get("if-none-match", ""))}


def _headers(mark: RunMark) -> dict[str, str]:
    headers = {"ETag": f'W/"{mark.version}"', "Cache-Control": "private, no-cache"}
    return headers if mark.status.terminal else {**headers, "Retry-After": _POLL_AGAIN_S}
