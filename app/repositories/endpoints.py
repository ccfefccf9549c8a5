"""What workers share of an endpoint. All time is the database's; one small statement a second keeps a member in touch.

A member writes its own row alone; the endpoint's row is written only when something happens to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.rlaif.limits import FLIGHT_PERIOD_S, Ceiling

FIRST_OPEN_S, LONGEST_OPEN_S = 5.0, 60.0
MEMBER_TTL_S = 5.0
"""A member that was not seen for so long has gone: its share is the others'."""


@dataclass(frozen=True, slots=True)
class Place:
    """One endpoint of one project."""

    project_id: str
    key: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a member says of itself; the recent counts fade with time."""

    in_flight: int = 0
    per_second: float = 0.0
    recent_calls: float = 0.0
    recent_failures: float = 0.0


@dataclass(frozen=True, slots=True)
class Shared:
    """An endpoint as it stands now; the sums are those of the live members but the one that asks.

    `open_s` is the time until the circuit may be probed, at most 0 once it may; None while it is closed. `cuts` tells
    which ceilings a member knew when it was refused.
    """

    rate: Ceiling | None
    flight: Ceiling | None
    cuts: int
    hold_s: float
    open_s: float | None
    probe_s: float
    detail: str | None
    others: int
    others_in_flight: int
    others_per_second: float
    others_calls: float
    others_failures: float
    now: datetime


_PLACE = "project_id = :project AND key = :key"
_READ = f"""
SELECT s.rate_ceiling, s.rate_period_s, s.flight_ceiling, s.cuts, s.detail,
    extract(epoch FROM now() - s.rate_cut_at)::float AS rate_since_s,
    extract(epoch FROM now() - s.flight_cut_at)::float AS flight_since_s,
    greatest(extract(epoch FROM s.held_until - now()), 0)::float AS hold_s,
    extract(epoch FROM s.open_until - now())::float AS open_s,
    greatest(extract(epoch FROM s.probe_until - now()), 0)::float AS probe_s,
    now() AS now, m.*
FROM endpoint_states s, LATERAL (
    SELECT count(*) AS others, coalesce(sum(in_flight), 0) AS others_in_flight,
        coalesce(sum(per_second), 0) AS others_per_second, coalesce(sum(recent_calls), 0) AS others_calls,
        coalesce(sum(recent_failures), 0) AS others_failures
    FROM endpoint_members
    WHERE {_PLACE} AND member <> :member AND seen_at > now() - make_interval(secs => :ttl)
) m
WHERE {_PLACE}
"""  # noqa: S608  constants of this module
_SYNC = text(f"""
WITH own AS (
    INSERT INTO endpoint_members (project_id, key, member, in_flight, per_second, recent_calls, recent_failures)
    VALUES (:project, :key, :member, :in_flight, :per_second, :recent_calls, :recent_failures)
    ON CONFLICT (project_id, key, member) DO UPDATE SET seen_at = now(), in_flight = excluded.in_flight,
        per_second = excluded.per_second, recent_calls = excluded.recent_calls,
        recent_failures = excluded.recent_failures
)
{_READ}
""")  # noqa: S608  constants of this module
_JOIN = text("""
INSERT INTO endpoint_states (project_id, key, rate_period_s, cuts, opened) VALUES (:project, :key, 0, 0, 0)
ON CONFLICT DO NOTHING
""")
_FORGET = text(f"""
DELETE FROM endpoint_members
WHERE {_PLACE} AND (member = :member OR seen_at < now() - make_interval(secs => 10 * :ttl))
""")  # noqa: S608  constants of this module
_CUT_RATE = text(f"""
UPDATE endpoint_states SET rate_ceiling = :value, rate_period_s = :period, rate_cut_at = now(), cuts = cuts + 1
WHERE {_PLACE} AND cuts = :cuts
""")  # noqa: S608  constants of this module
_CUT_FLIGHT = text(f"""
UPDATE endpoint_states SET flight_ceiling = :value, flight_cut_at = now(), cuts = cuts + 1
WHERE {_PLACE} AND cuts = :cuts
""")  # noqa: S608  constants of this module
_HOLD = text(f"""
UPDATE endpoint_states SET held_until = now() + make_interval(secs => :seconds)
WHERE {_PLACE} AND (held_until IS NULL OR held_until < now() + make_interval(secs => :seconds))
""")  # noqa: S608  constants of this module
_OPEN = text(f"""
UPDATE endpoint_states SET opened = opened + 1, probe_until = NULL, detail = :detail,
    open_until = now() + make_interval(secs => greatest(:at_least, least(:longest, :first * 2 ^ least(opened, 10))))
WHERE {_PLACE} AND (open_until IS NULL OR open_until <= now())
""")  # noqa: S608  constants of this module
_CLOSE = text(f"""
UPDATE endpoint_states SET opened = 0, open_until = NULL, probe_until = NULL, detail = NULL
WHERE {_PLACE} AND open_until IS NOT NULL
""")  # noqa: S608  constants of this module
_PROBE = text(f"""
UPDATE endpoint_states SET probe_until = now() + make_interval(secs => :seconds)
WHERE {_PLACE} AND open_until <= now() AND (probe_until IS NULL OR probe_until <= now())
RETURNING key
""")  # noqa: S608  constants of this module

_GIVE_UP = text(f"UPDATE endpoint_states SET probe_until = NULL WHERE {_PLACE}")  # noqa: S608  a constant


def join(session: Session, place: Place, member: str) -> Shared:
    """Begin to call the endpoint."""
    session.execute(_JOIN, _of(place))
    return sync(session, place, member, Report())


def sync(session: Session, place: Place, member: str, report: Report) -> Shared:
    """Say how it goes, and learn how it goes with all the others: one statement."""
    values = _of(place, member=member, ttl=MEMBER_TTL_S, in_flight=report.in_flight, per_second=report.per_second)
    values |= {"recent_calls": report.recent_calls, "recent_failures": report.recent_failures}
    return _shared(session.execute(_SYNC, values).mappings().one())


def read(session: Session, place: Place) -> Shared | None:
    """As one who is no member; None for an endpoint that was never called."""
    row = session.execute(text(_READ), _of(place, member="", ttl=MEMBER_TTL_S)).mappings().one_or_none()
    return None if row is None else _shared(row)


def leave(session: Session, place: Place, member: str) -> None:
    """Stop calling. Whoever has long been silent is forgotten along the way."""
    session.execute(_FORGET, _of(place, member=member, ttl=MEMBER_TTL_S))


def cut_rate(session: Session, place: Place, ceiling: Ceiling, *, known_cuts: int) -> None:
    """Nothing where somebody else has cut since: the refusal was of calls made before that."""
    session.execute(_CUT_RATE, _of(place, value=ceiling.value, period=ceiling.period_s, cuts=known_cuts))


def cut_flight(session: Session, place: Place, ceiling: Ceiling, *, known_cuts: int) -> None:
    """As `cut_rate`, for the calls in flight."""
    session.execute(_CUT_FLIGHT, _of(place, value=ceiling.value, cuts=known_cuts))


def hold(session: Session, place: Place, seconds: float) -> None:
    """Let nobody call for so long."""
    session.execute(_HOLD, _of(place, seconds=seconds))


def open_circuit(session: Session, place: Place, detail: str, *, at_least_s: float) -> None:
    """The endpoint is down: wait 5 s, doubling to 60 s with every probe that fails, or `at_least_s`."""
    values = _of(place, detail=detail[:500], at_least=at_least_s, first=FIRST_OPEN_S, longest=LONGEST_OPEN_S)
    session.execute(_OPEN, values)


def close_circuit(session: Session, place: Place) -> None:
    """The endpoint has answered."""
    session.execute(_CLOSE, _of(place))


def take_probe(session: Session, place: Place, *, seconds: float) -> bool:
    """Whether this member is the one that may find out if an endpoint is there again; nobody else for `seconds`."""
    return session.execute(_PROBE, _of(place, seconds=seconds)).first() is not None


def give_up_probe(session: Session, place: Place) -> None:
    """Whoever had it made no call: the next one may."""
    session.execute(_GIVE_UP, _of(place))


def _of(place: Place, **values: Any) -> dict[str, Any]:
    return {"project": place.project_id, "key": place.key, **values}


def _shared(row: Any) -> Shared:
    return Shared(
        rate=_ceiling(row["rate_ceiling"], row["rate_since_s"], row["rate_period_s"]),
        flight=_ceiling(row["flight_ceiling"], row["flight_since_s"], FLIGHT_PERIOD_S),
        cuts=row["cuts"],
        hold_s=row["hold_s"] or 0.0,
        open_s=row["open_s"],
        probe_s=row["probe_s"] or 0.0,
        detail=row["detail"],
        others=row["others"],
        others_in_flight=row["others_in_flight"],
        others_per_second=row["others_per_second"],
        others_calls=row["others_calls"],
        others_failures=row["others_failures"],
        now=row["now"],
    )


def _ceiling(value: float | None, since_s: float | None, period_s: float) -> Ceiling | None:
    return None if value is None or since_s is None else Ceiling(value, since_s, period_s)
