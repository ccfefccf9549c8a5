"""Asks many questions at once, with a bound and without a batch barrier."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


async def in_flight(
    questions: Iterable[Asked], ask: Callable[[Asked], Awaitable[Answered]], *, limit: int
) -> AsyncGenerator[Answered, None]:
    """Answers in the order in which they are ready, at most `limit` asked and not yet yielded.

    When asking or the questions raise, no new question is taken, what is in flight is answered, and the first error is
    raised last. Closing the generator cancels what is in flight.
    """
    flight = _Flight(questions, ask)
    try:
        while True:
            flight.fill(limit)
            while flight.ready:
                yield flight.ready.popleft()
                flight.fill(limit)
            if not flight.out:
                break
            await flight.landing()
    finally:
        await flight.cancel()
    if flight.error is not None:
        raise flight.error


class _Flight(Generic[Asked, Answered]):
    """The questions that are out, the answers that are back, and the first error."""

    def __init__(self, questions: Iterable[Asked], ask: Callable[[Asked], Awaitable[Answered]]) -> None:
        self._source = iter(questions)
        self._ask = ask
        self._tasks: set[asyncio.Task[None]] = set()
        self._landed = asyncio.Event()
        self.out = 0
        self.ready: deque[Answered] = deque()
        self.error: BaseException | None = None

    def fill(self, limit: int) -> None:
        while self.error is None and self.out + len(self.ready) < limit:
            try:
                question = next(self._source)
            except StopIteration:
                return
            except Exception as error:
                self.error = error
                return
            self.out += 1
            task = asyncio.create_task(self._answer(question))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def landing(self) -> None:
        """Wait until an answer or an error is back."""
        self._landed.clear()
        await self._landed.wait()

    async def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _answer(self, question: Asked) -> None:
        try:
            self.ready.append(await self._ask(question))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self.error = self.error or error
        finally:
            self.out -= 1
            self._landed.set()
