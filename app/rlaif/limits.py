"""How fast an endpoint may be called: what it refused is learned, approached again slowly, and shared by its callers.

Pure. The growth is CUBIC's (RFC 9438): quick at first, flat near what was last refused, quick again beyond it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

BACK_OFF = 0.05
"""How far below what was refused one begins anew. Small, since each further refusal costs a whole `Retry-After`."""

FIRST_PERIOD_S, LONGEST_PERIOD_S = 2.0, 30.0
FLIGHT_PERIOD_S = 5.0
AGREED = 0.8
"""Two refusals at rates no further apart than this confirm each other: the next attempt can wait longer."""

LOWEST_RATE = 0.01
SOON_S, LEAST_SHARE = 3.0, 0.95
STRAINED_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What an endpoint last refused to exceed, how long ago, and how long until that is tried again."""

    value: float
    since_s: float
    period_s: float

    def allowed(self) -> float:
        """`value` again after one period; a twentieth less at first, 40 % more after three."""
        return self.value * (1.0 + BACK_OFF * (self.since_s / self.period_s - 1.0) ** 3)


def refused_rate(known: Ceiling | None, *, accepted_per_second: float, accepted_share: float) -> Ceiling:
    """The ceiling after an answer 429: at first what was accepted, later the accepted share of what was tried.

    At most a twentieth goes at once: one refusal among many may be a moment's crowd, and says little of the limit. Soon
    after another refusal nothing was measured yet, and a twentieth goes.
    """
    if known is None:
        return Ceiling(max(accepted_per_second, 1.0), 0.0, FIRST_PERIOD_S)
    tried = known.allowed()
    soon = known.since_s < SOON_S
    value = max(tried * (LEAST_SHARE if soon else max(accepted_share, LEAST_SHARE)), LOWEST_RATE)
    return Ceiling(value, 0.0, _next_period(known, value))


def _next_period(known: Ceiling, value: float) -> float:
    agreed = value >= AGREED * known.value and known.value >= AGREED * value
    return min(2 * known.period_s, LONGEST_PERIOD_S) if agreed else FIRST_PERIOD_S


def strained_flight(in_flight: float) -> Ceiling:
    """The ceiling of calls in flight after an endpoint was overloaded with so many: HTTP 503, or no reply in time."""
    return Ceiling(max(STRAINED_SHARE * in_flight, 1.0), 0.0, FLIGHT_PERIOD_S)


def endpoint_key(base_url: str, model: str, secret: str | None) -> str:
    """Who is limited: providers count by account and model. Hex SHA-256, the same for every judge that shares it."""
    return hashlib.sha256("\n".join((base_url, model, secret or "")).encode()).hexdigest()
