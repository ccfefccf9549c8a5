"""How an endpoint stands that a judge calls, as clients see it."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from app.repositories.endpoints import Shared
from app.rlaif.judges import RemoteJudge


class Circuit(StrEnum):
    """`open`: nobody calls; `half_open`: one worker finds out whether the endpoint is there again."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class EndpointOut(BaseModel):
    """What this project's workers know together of the endpoint, by the database's clock."""

    model_config = ConfigDict(frozen=True)

    judge_id: str = Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
    base_url: str = Field(examples=["https://api.openai.com/v1"])
    model: str = Field(examples=["gpt-4.1-mini"])
    requests_per_minute: float | None = Field(description="What the judge states", examples=[500.0])
    tokens_per_minute: float | None = Field(description="What the judge states", examples=[None])
    learned_requests_per_minute: float | None = Field(
        description="What its answers 429 have taught, at this moment; null where it has given none", examples=[412.0]
    )
    in_flight_limit: float | None = Field(
        description="What overload has taught, at this moment; null where there was none", examples=[None]
    )
    workers: int = Field(description="Processes that call it now", examples=[3])
    in_flight: int = Field(description="Their calls at this moment, as they last told", examples=[48])
    recent_calls: float = Field(description="Calls that ended lately; older ones count less", examples=[812.4])
    recent_error_rate: float | None = Field(description="Share of them without a reply", examples=[0.01])
    held_until: datetime | None = Field(description="Its `Retry-After`: nobody calls before", examples=[None])
    circuit: Circuit
    open_until: datetime | None = Field(description="When an open circuit may be probed", examples=[None])
    detail: str | None = Field(description="Why the circuit is open", examples=[None])

    @classmethod
    def of(cls, judge_id: str, spec: RemoteJudge, shared: Shared | None) -> Self:
        """`shared` is None where nobody has called the endpoint yet."""
        rate, flight = (None, None) if shared is None else (shared.rate, shared.flight)
        calls = shared.others_calls if shared else 0.0
        return cls(
            judge_id=judge_id,
            base_url=spec.base_url,
            model=spec.model,
            requests_per_minute=spec.requests_per_minute,
            tokens_per_minute=spec.tokens_per_minute,
            learned_requests_per_minute=None if rate is None else 60.0 * rate.allowed(),
            in_flight_limit=None if flight is None else flight.allowed(),
            workers=shared.others if shared else 0,
            in_flight=shared.others_in_flight if shared else 0,
            recent_calls=calls,
            recent_error_rate=shared.others_failures / calls if shared and calls else None,
            held_until=_until(shared, shared.hold_s) if shared and shared.hold_s else None,
            circuit=_circuit(shared),
            open_until=_until(shared, shared.open_s) if shared and shared.open_s is not None else None,
            detail=shared.detail if shared else None,
        )


def _circuit(shared: Shared | None) -> Circuit:
    if shared is None or shared.open_s is None:
        return Circuit.CLOSED
    return Circuit.OPEN if shared.open_s > 0 else Circuit.HALF_OPEN


def _until(shared: Shared, seconds: float) -> datetime:
    return shared.now + timedelta(seconds=seconds)
