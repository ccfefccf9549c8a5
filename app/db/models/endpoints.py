"""What a project's workers know together of the endpoints that they call: limits learned, and replies paid for."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Float, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Json, Moment, Ref, Usd


class EndpointState(Base):
    """One endpoint as one project calls it. `key` is app.rlaif.limits.endpoint_key.

    A ceiling is what it last refused to exceed; null until it has refused. Each cut of it counts, so that refusals of
    calls that were made before a cut do not cut again. Times are the database's.
    """

    __tablename__ = "endpoint_states"
    __table_args__ = (CheckConstraint("probe_until IS NULL OR open_until IS NOT NULL", name="probe_when_open"),)

    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    rate_ceiling: Mapped[float | None] = mapped_column(Float)  # calls a second, of all members together
    rate_cut_at: Mapped[Moment | None]
    rate_period_s: Mapped[float] = mapped_column(Float, default=2.0)  # how soon it is tried again
    flight_ceiling: Mapped[float | None] = mapped_column(Float)  # calls in flight, of all members together
    flight_cut_at: Mapped[Moment | None]
    cuts: Mapped[int] = mapped_column(Integer, default=0)
    held_until: Mapped[Moment | None]  # Retry-After: nobody calls before
    open_until: Mapped[Moment | None]  # the circuit is open; from then on one member probes
    opened: Mapped[int] = mapped_column(Integer, default=0)  # times in a row
    probe_until: Mapped[Moment | None]  # whose probe it is has until then
    detail: Mapped[str | None] = mapped_column(String(500))  # why the circuit is open


class EndpointMember(Base):
    """A process that calls an endpoint. One that is not seen for a few seconds is gone."""

    __tablename__ = "endpoint_members"

    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    member: Mapped[str] = mapped_column(String(64), primary_key=True)
    seen_at: Mapped[CreatedAt]
    in_flight: Mapped[int] = mapped_column(Integer, default=0)
    per_second: Mapped[float] = mapped_column(Float, default=0.0)  # answered calls
    recent_calls: Mapped[float] = mapped_column(Float, default=0.0)  # older ones count less and less
    recent_failures: Mapped[float] = mapped_column(Float, default=0.0)


class CachedReply(Base):
    """A reply that was paid for. `key` is of everything that determined it: see app.rlaif.reply_keys."""

    __tablename__ = "verdict_cache"
    __table_args__ = (Index(None, "project_id", "created_at"),)

    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    reply: Mapped[Json]  # app.rlaif.replies.Reply
    prompt_tokens: Mapped[int] = mapped_column(Integer)
    completion_tokens: Mapped[int] = mapped_column(Integer)
    cost_usd: Mapped[Usd]
    created_at: Mapped[CreatedAt]


class DeploymentKey(Base):
    """A random key of this deployment, for where the operator has set none. The one row without a project."""

    __tablename__ = "deployment_keys"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[CreatedAt]
