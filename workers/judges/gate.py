"""The door through which every call of this process to one endpoint goes: its pace, and the error that ends them all.

It acts at once and alone; what other processes do is told to it about once a second (`workers.judges.limits`).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field

from workers.judges.bucket import Bucket
from workers.judges.protocol import JudgeError, JudgeUnavailable

REFUSING_S = 5.0
"""An endpoint that has refused every call for so long is as good as down."""

_NEGLIGIBLE_S = 1e-6
_SHORTEST_SLEEP_S = 0.005
"""Timers are no finer than milliseconds: those whose turn comes sooner go together."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What this process may do until it is told again; None is no limit. Rates are a second's."""

    requests: float | None = None
    tokens: float | None = None
    in_flight: float | None = None


@dataclass(slots=True)
class Tally:
    """What happened since it was last taken: calls made, refused (429), ended, and failed for whatever reason.

    `answered` calls met the endpoint itself, `strained` ones found it overloaded. `held_s`, `down` and `too_fast` are
    what the others must know of.
    """

    since: float
    made: int = 0
    refused: int = 0
    ended: int = 0
    failed: int = 0
    answered: int = 0
    strained: int = 0
    held_s: float = 0.0
    down: JudgeUnavailable | None = None
    too_fast: bool = False


@dataclass(slots=True)
class Row:
    """Calls in a row that ended alike, and when the first of them did."""

    count: int = 0
    began_at: float = field(default=0.0)

    def grow(self, now: float) -> None:
        self.began_at = now if self.count == 0 else self.began_at
        self.count += 1


class Gate:
    """Closed by the first fatal error: whoever waits at it raises that error at once instead of calling again."""

    def __init__(self, *, outage_after: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._outage_after = outage_after
        self._missed, self._refused = Row(), Row()
        self._error: JudgeError | None = None
        self._closed = asyncio.Event()
        self._open_at = 0.0
        self._eased_at = 0.0
        self._requests = Bucket(None, now=self._loop.time())
        self._tokens = Bucket(None, now=self._loop.time())
        self._slots = math.inf
        self._queue: deque[tuple[asyncio.Future[None], float]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self.in_flight = 0
        self.answers = 0
        self.probing = False
        self.tally = Tally(self._loop.time())
        self.news = asyncio.Event()

    async def enter(self, tokens: float = 0.0) -> float:
        """Wait for this call's turn; says when it began. Raises the error that closed the gate, once it is closed.

        `tokens` are those that the call will probably take. Whoever was let in must `leave`.
        """
        if self._error is not None:
            raise self._error
        if self._queue or self._wait_s(tokens) > _NEGLIGIBLE_S:
            await self._turn(tokens)
        else:
            self._admit(tokens)
        return self._loop.time()

    def leave(self, *, spare_tokens: float = 0.0) -> None:
        """A call has ended; `spare_tokens` were asked for and not taken."""
        self.in_flight -= 1
        self.tally.ended += 1
        if spare_tokens and self._tokens.rate is not None:
            self._tokens.take(-spare_tokens)
        self._pump()

    def reached(self) -> None:
        """The endpoint answered something of its own: it is not down."""
        self.answers += 1
        self.tally.answered += 1
        self._missed.count = self._refused.count = 0
        if self.probing:
            self.probing = False
            self.news.set()

    @property
    def reachable(self) -> bool:
        """Whether the endpoint has answered, and no call since then was in vain."""
        return self._missed.count == 0 and self.answers > 0

    def failed(self) -> None:
        """A call brought no reply, for whatever reason."""
        self.tally.failed += 1

    def missed(self, what: str, *, retry_after_s: float | None) -> None:
        """A call did not reach the endpoint. Raises JudgeUnavailable after `outage_after` of them in a row.

        One is enough for who probes.
        """
        self._missed.grow(self._loop.time())
        if self.probing or self._missed.count >= self._outage_after:
            raise self.outage(unreachable(what, retry_after_s=retry_after_s))

    def refused(self, what: str, *, began_at: float) -> None:
        """A call came too soon after others: go slower. Raises JudgeUnavailable when all have for a while."""
        now = self._loop.time()
        self.tally.refused += 1
        self._refused.grow(now)
        if self._refused.count >= self._outage_after and now - self._refused.began_at >= REFUSING_S:
            raise self.outage(unreachable(f"it refuses every call: {what}", retry_after_s=None))
        if began_at >= self._eased_at:
            self._ease(now)

    def strained(self, *, began_at: float) -> None:
        """A call met an endpoint that is overloaded: have fewer in flight."""
        if began_at >= self._eased_at:
            self.tally.strained += 1

    def hold(self, seconds: float) -> None:
        """Let nobody through for a while: a rate limit is the endpoint's, not the question's."""
        self._hold(seconds)
        if seconds > self.tally.held_s:
            self.tally.held_s = seconds
            self.news.set()

    def outage(self, error: JudgeUnavailable) -> JudgeError:
        """Close because the endpoint is down, which everybody who calls it should know. Returns the error to raise."""
        self.tally.down = error
        self.news.set()
        return self.close(error)

    def close(self, error: JudgeError) -> JudgeError:
        """Record the error that ends the work; the first one stays. Returns it, to be raised."""
        self._error = self._error or error
        self._closed.set()
        while self._queue:
            waiter, _ = self._queue.popleft()
            if not waiter.done():
                waiter.set_exception(self._error)
        return self._error

    async def wait(self, seconds: float) -> None:
        """Wait so long. Raises the error that closed the gate, as soon as it is closed."""
        try:
            await asyncio.wait_for(self._closed.wait(), seconds)
        except TimeoutError:
            return
        raise self._error or AssertionError("closed without an error")

    def allow(self, allowance: Allowance, *, hold_s: float, eased: bool) -> None:
        """What all processes together agreed on. `eased`: somebody has gone slower, so older refusals are answered."""
        now = self._loop.time()
        if eased:
            self._eased_at = now
        self._requests.set_rate(allowance.requests, now=now)
        self._tokens.set_rate(allowance.tokens, now=now)
        self._slots = math.inf if allowance.in_flight is None else max(allowance.in_flight, 1.0)
        self._hold(hold_s)
        self._pump()

    def take_tally(self) -> Tally:
        """What happened since the last time."""
        taken, self.tally = self.tally, Tally(self._loop.time())
        return taken

    def _ease(self, now: float) -> None:
        """Until the others are heard, no faster than what the endpoint has just borne."""
        tally = self.tally
        tally.too_fast = True
        if self._requests.rate is None:
            borne = (tally.made - tally.refused) / max(now - tally.since, 1.0)
            self._requests.set_rate(max(borne, 1.0), now=now)
        self.news.set()

    def _hold(self, seconds: float) -> None:
        if (until := self._loop.time() + seconds) > self._open_at and seconds > 0:
            self._open_at = until
            self._requests.drain(until=until)

    async def _turn(self, tokens: float) -> None:
        waiter = self._loop.create_future()
        self._queue.append((waiter, tokens))
        self._pump()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.leave()
            raise

    def _pump(self) -> None:
        """Let in whoever's turn it is, and wake again when the next one's is."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        while self._queue:
            waiter, tokens = self._queue[0]
            if waiter.done():
                self._queue.popleft()
                continue
            if (wait_s := self._wait_s(tokens)) > _NEGLIGIBLE_S:
                if wait_s < math.inf:
                    self._alarm = self._loop.call_later(max(wait_s, _SHORTEST_SLEEP_S), self._pump)
                return
            self._queue.popleft()
            self._admit(tokens)
            waiter.set_result(None)

    def _wait_s(self, tokens: float) -> float:
        if self.in_flight >= self._slots:
            return math.inf
        now = self._loop.time()
        return max(self._open_at - now, self._requests.wait_s(1.0, now=now), self._tokens.wait_s(tokens, now=now))

    def _admit(self, tokens: float) -> None:
        self._requests.take(1.0)
        self._tokens.take(tokens)
        self.in_flight += 1
        self.tally.made += 1


def unreachable(what: str, *, retry_after_s: float | None) -> JudgeUnavailable:
    return JudgeUnavailable(f"the judge endpoint is out of reach, last: {what}", retry_after_s=retry_after_s)
