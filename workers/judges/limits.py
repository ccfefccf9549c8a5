"""Keeps one process's gate in step with every other that calls the same endpoint, about once a second.

The database carries what they share; while it is away each goes on as it last was told.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from app.repositories import endpoints
from app.repositories.endpoints import Place, Report, Shared
from app.rlaif.judges import RemoteJudge
from app.rlaif.limits import refused_rate, strained_flight
from workers.judges.gate import Allowance, Gate, Tally
from workers.judges.protocol import JudgeUnavailable

log = logging.getLogger(__name__)

SYNC_S = 1.0
SOONEST_S = 0.25
"""How soon after the last time news may be told."""

OTHERS_PROBE_S = 5.0
"""When to look again while another process finds out whether the endpoint is there."""

OVERLOADED_SHARE = 0.05
_FADING = 0.9
_AWAY = (OperationalError, InterfaceError, PoolTimeout)

Transactions = Callable[[], AbstractContextManager[Session]]


@dataclass(frozen=True, slots=True)
class Stated:
    """What a judge's configuration says of its endpoint. A hold of `patience_s` or more is not waited out."""

    requests_per_minute: float | None
    tokens_per_minute: float | None
    patience_s: float
    probe_s: float
    outage_after: int

    @classmethod
    def of(cls, spec: RemoteJudge) -> Self:
        return cls(
            requests_per_minute=spec.requests_per_minute,
            tokens_per_minute=spec.tokens_per_minute,
            patience_s=spec.question_timeout_s,
            probe_s=spec.timeout_s + 2 * SYNC_S,
            outage_after=spec.outage_after,
        )


Limits = AbstractAsyncContextManager[Gate]
"""Entered, the gate to an endpoint. Entering may raise JudgeUnavailable."""


@asynccontextmanager
async def alone(stated: Stated) -> AsyncIterator[Gate]:
    """The gate of a process that calls an endpoint by itself."""
    gate = Gate(outage_after=stated.outage_after)
    gate.allow(
        Allowance(requests=_a_second(stated.requests_per_minute), tokens=_a_second(stated.tokens_per_minute)),
        hold_s=0.0,
        eased=False,
    )
    yield gate


class SharedLimits:
    """While entered, this process is a member of those that call the endpoint.

    Entering raises JudgeUnavailable while the circuit is open, and while another process probes it.
    """

    def __init__(self, transactions: Transactions, place: Place, stated: Stated) -> None:
        self._transactions = transactions
        self._place = place
        self._stated = stated
        self._member = uuid.uuid4().hex
        self._cuts = 0
        self._open = False
        self._recent = Report()
        self._lately = 0.0
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Gate:
        self._gate = Gate(outage_after=self._stated.outage_after)
        shared = await asyncio.to_thread(self._join)
        if shared.open_s is not None and not self._gate.probing:
            raise _open(shared)
        if shared.hold_s >= self._stated.patience_s:
            raise _held(shared)
        self._cuts = shared.cuts
        self._open = shared.open_s is not None
        self._apply(shared, eased=False)
        if shared.others and self._paced(shared):
            # The others do not know yet that they have to share with one more.
            self._gate.allow(self._allowance(shared), hold_s=SYNC_S, eased=False)
        self._task = asyncio.create_task(self._stay_in_step())
        return self._gate

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        with suppress(*_AWAY):
            await asyncio.to_thread(self._leave, self._gate.take_tally())

    def _join(self) -> Shared:
        with self._transactions() as session:
            shared = endpoints.join(session, self._place, self._member)
            if shared.open_s is not None and shared.open_s <= 0:
                self._gate.probing = endpoints.take_probe(session, self._place, seconds=self._stated.probe_s)
            if shared.open_s is not None and not self._gate.probing:
                endpoints.leave(session, self._place, self._member)
            return shared

    def _leave(self, tally: Tally) -> None:
        with self._transactions() as session:
            self._tell(session, tally)
            if self._gate.probing and tally.down is None:
                endpoints.give_up_probe(session, self._place)
            elif self._open and tally.answered and self._gate.reachable:
                endpoints.close_circuit(session, self._place)
            endpoints.leave(session, self._place, self._member)

    async def _stay_in_step(self) -> None:
        while True:
            await asyncio.sleep(SOONEST_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gate.news.wait(), SYNC_S - SOONEST_S)
            self._gate.news.clear()
            tally = self._gate.take_tally()
            try:
                shared = await asyncio.to_thread(self._exchange, tally, asyncio.get_running_loop().time())
            except _AWAY as error:
                log.warning("limits of an endpoint are not shared while the database is away: %s", error)
            else:
                self._heed(shared)

    def _exchange(self, tally: Tally, now: float) -> Shared:
        """One statement, and one more for each thing that happened."""
        accepted = (tally.made - tally.refused) / max(now - tally.since, SOONEST_S)
        self._lately, accepted = accepted, max(accepted, self._lately)
        self._recent = Report(
            in_flight=self._gate.in_flight,
            per_second=accepted,
            recent_calls=_FADING * self._recent.recent_calls + tally.ended,
            recent_failures=_FADING * self._recent.recent_failures + tally.failed,
        )
        with self._transactions() as session:
            self._tell(session, tally)
            shared = endpoints.sync(session, self._place, self._member, self._recent)
            changed = self._slow_down(session, tally, shared)
            if shared.open_s is not None and tally.answered and self._gate.reachable:
                endpoints.close_circuit(session, self._place)
                changed = True
        if not changed:
            return shared
        with self._transactions() as session:
            return endpoints.sync(session, self._place, self._member, self._recent)

    def _tell(self, session: Session, tally: Tally) -> None:
        if tally.held_s:
            endpoints.hold(session, self._place, tally.held_s)
        if tally.down is not None:
            endpoints.open_circuit(session, self._place, str(tally.down), at_least_s=tally.down.retry_after_s or 0.0)

    def _slow_down(self, session: Session, tally: Tally, shared: Shared) -> bool:
        """Whether a ceiling was cut: not where somebody has since these calls were made."""
        if shared.cuts != self._cuts or not (tally.too_fast or _overloaded(tally)):
            return False
        if tally.too_fast:
            ceiling = refused_rate(
                shared.rate,
                accepted_per_second=self._recent.per_second + shared.others_per_second,
                accepted_share=1.0 - tally.refused / max(tally.made, 1),
            )
            endpoints.cut_rate(session, self._place, ceiling, known_cuts=shared.cuts)
        else:
            ceiling = strained_flight(self._recent.in_flight + shared.others_in_flight)
            endpoints.cut_flight(session, self._place, ceiling, known_cuts=shared.cuts)
        return True

    def _heed(self, shared: Shared) -> None:
        if shared.hold_s >= self._stated.patience_s:
            self._gate.close(_held(shared))
        if shared.open_s is not None and not self._gate.probing:
            self._gate.close(_open(shared))
        self._open = shared.open_s is not None
        eased, self._cuts = shared.cuts != self._cuts, shared.cuts
        self._apply(shared, eased=eased)

    def _apply(self, shared: Shared, *, eased: bool) -> None:
        self._gate.allow(self._allowance(shared), hold_s=shared.hold_s, eased=eased)

    def _paced(self, shared: Shared) -> bool:
        allowance = self._allowance(shared)
        return allowance.requests is not None or allowance.tokens is not None

    def _allowance(self, shared: Shared) -> Allowance:
        """An equal share of everything."""
        members = shared.others + 1
        learned = None if shared.rate is None else shared.rate.allowed()
        requests = _least(learned, _a_second(self._stated.requests_per_minute))
        tokens = _a_second(self._stated.tokens_per_minute)
        in_flight = None if shared.flight is None else shared.flight.allowed() / members
        return Allowance(
            requests=None if requests is None else requests / members,
            tokens=None if tokens is None else tokens / members,
            in_flight=1.0 if self._gate.probing else in_flight,
        )


def _overloaded(tally: Tally) -> bool:
    """One slow call in many says nothing of the endpoint."""
    return tally.strained > OVERLOADED_SHARE * tally.ended


def _a_second(per_minute: float | None) -> float | None:
    return None if per_minute is None else per_minute / 60.0


def _least(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _open(shared: Shared) -> JudgeUnavailable:
    after_s = shared.open_s if shared.open_s and shared.open_s > 0 else min(shared.probe_s, OTHERS_PROBE_S)
    return JudgeUnavailable(
        f"the judge endpoint is down, as another worker found: {shared.detail}", retry_after_s=max(after_s, 1.0)
    )


def _held(shared: Shared) -> JudgeUnavailable:
    return JudgeUnavailable(
        f"the judge endpoint asks to be left alone for {shared.hold_s:.0f} s", retry_after_s=shared.hold_s
    )
