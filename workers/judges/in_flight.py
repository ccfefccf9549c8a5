"""Asks many questions at once, with a bound and without a batch barrier."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


async def in_flight(
    questions: Iterable[Asked], ask: Callable[[Asked], Awaitable[Answered]], *, limit: int
) -> AsyncGenerator[Answered, None]:
    """Answers in the order in which they are ready, at most `limit` asked and not yet yielded.

    When asking or the questions raise, no new question is taken, what is in flight is answered, and the first error is
    raised last. Closing the generator cancels what is in flight.
    """
    source = iter(questions)
    finished: asyncio.Queue[asyncio.Task[Answered]] = asyncio.Queue()
    pending: set[asyncio.Task[Answered]] = set()
    failure: BaseException | None = None
    try:
        while True:
            if failure is None:
                try:
                    _fill(pending, source, ask, finished, limit)
                except Exception as unread:
                    failure = unread
            if not pending:
                break
            task = await finished.get()
            pending.discard(task)
            if error := task.exception():
                failure = failure or error
            else:
                yield task.result()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    if failure is not None:
        raise failure


def _fill(
    pending: set[asyncio.Task[Answered]],
    source: Iterator[Asked],
    ask: Callable[[Asked], Awaitable[Answered]],
    finished: asyncio.Queue[asyncio.Task[Answered]],
    limit: int,
) -> None:
    async def answer(question: Asked) -> Answered:
        return await ask(question)

    while len(pending) < limit:
        try:
            question = next(source)
        except StopIteration:
            return
        task = asyncio.create_task(answer(question))
        task.add_done_callback(finished.put_nowait)
        pending.add(task)
