"""What all questions in flight to one endpoint share: a pause it asked for, and the error that ends them all."""

from __future__ import annotations

import asyncio
import random

from workers.judges.protocol import JudgeError, JudgeUnavailable


class Gate:
    """Closed by the first fatal error: whoever waits at it raises that error at once instead of calling again."""

    def __init__(self, *, outage_after: int) -> None:
        self._outage_after = outage_after
        self._missed = 0
        self._open_at = 0.0
        self._error: JudgeError | None = None
        self._closed = asyncio.Event()

    def close(self, error: JudgeError) -> JudgeError:
        """Record the error that ends the work; the first one stays. Returns it, to be raised."""
        self._error = self._error or error
        self._closed.set()
        return self._error

    def reached(self) -> None:
        """The endpoint answered something of its own: it is not down."""
        self._missed = 0

    def missed(self, what: str, *, retry_after_s: float | None) -> None:
        """A call did not reach the endpoint. Raises JudgeUnavailable after `outage_after` of them in a row."""
        self._missed += 1
        if self._missed >= self._outage_after:
            raise self.close(unreachable(what, retry_after_s=retry_after_s))

    def hold(self, seconds: float) -> None:
        """Let nobody through for a while: a rate limit is the endpoint's, not the question's."""
        self._open_at = max(self._open_at, asyncio.get_running_loop().time() + seconds)

    async def wait(self, seconds: float = 0.0) -> None:
        """Wait so long, and as long as the gate is held. Raises the error that closed it, as soon as it is closed."""
        until = asyncio.get_running_loop().time() + seconds
        while self._error is None and (left := max(until, self._open_at) - asyncio.get_running_loop().time()) > 0:
            try:
                # Spread out, so that what waited together does not call together.
                await asyncio.wait_for(self._closed.wait(), left + random.uniform(0, min(1.0, 0.1 * left)))
            except TimeoutError:
                continue
        if self._error is not None:
            raise self._error


def unreachable(what: str, *, retry_after_s: float | None) -> JudgeUnavailable:
    return JudgeUnavailable(f"the judge endpoint is out of reach, last: {what}", retry_after_s=retry_after_s)
