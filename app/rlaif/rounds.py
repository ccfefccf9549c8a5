"""How many rounds a run has, when it stops before the last, and which round won. Pure.

Each round starts from the policy of the one before and is measured against the run's base model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.evidence import EvaluationMetrics, Promotion, Reason

EVEN = 0.5
"""The win rate of the base model against itself: what the first round has to improve on."""


class RoundsConfig(BaseModel):
    """Rounds of sample, judge, train and evaluate. A run stops early where going on does not pay or goes too far."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: Annotated[int, Field(strict=True, ge=2, le=20)] = Field(description="At most so many rounds")
    minimum_improvement: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] = Field(
        0.0,
        description="By how much a round's held-out win rate against the base model must exceed the best before it; "
        "before the first round that is 0.5",
    )
    maximum_kl: Annotated[float, Field(strict=True, gt=0, le=1e6, allow_inf_nan=False)] | None = Field(
        None, description="Nats a held-out completion by which the policy may differ from the base model"
    )
    maximum_length_ratio: Annotated[float, Field(strict=True, ge=1, le=100, allow_inf_nan=False)] | None = Field(
        None, description="How many times as long as the base model's the policy's held-out completions may be"
    )


class EndReason(StrEnum):
    """Why no further round follows. The limits are looked at first: what goes too far may well win."""

    MAXIMUM_KL = "maximum_kl"
    MAXIMUM_LENGTH_RATIO = "maximum_length_ratio"
    NO_IMPROVEMENT = "no_improvement"
    COUNT_REACHED = "count_reached"


@dataclass(frozen=True, slots=True)
class RoundFigures:
    """What a round's policy was measured at; None for what could not be measured."""

    round: int
    win_rate: float
    kl: float | None
    length_ratio: float | None
    gates_hold: bool = True

    @classmethod
    def of(cls, round_: int, metrics: EvaluationMetrics) -> Self:
        """By what the evaluation of the round's policy measured."""
        gone = metrics.divergence
        return cls(
            round=round_,
            win_rate=metrics.win_rate.value,
            kl=None if gone is None or gone.kl is None else gone.kl.value,
            length_ratio=None if gone is None or gone.length_ratio is None else gone.length_ratio.value,
            gates_hold=metrics.promotion is None or metrics.promotion.promoted,
        )


@dataclass(frozen=True, slots=True)
class Going:
    """Another round follows."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """No further round follows."""

    reason: EndReason
    detail: str


def decide(config: RoundsConfig, rounds: Sequence[RoundFigures]) -> Going | Stopped:
    """Whether another round follows those that were measured, in their order; there is at least one."""
    last = rounds[-1]
    if (gone := beyond(config, last)) is not None:
        return gone
    best = max([EVEN, *(before.win_rate for before in rounds[:-1])])
    if last.win_rate <= best + config.minimum_improvement:
        detail = (
            f"round {last.round} wins {last.win_rate:.3f} against the base model, and more than "
            f"{best + config.minimum_improvement:.3f} was asked: the best before it, {best:.3f}, and "
            f"rounds.minimum_improvement {config.minimum_improvement:g}"
        )
        return Stopped(EndReason.NO_IMPROVEMENT, detail)
    if len(rounds) >= config.count:
        return Stopped(EndReason.COUNT_REACHED, f"all {config.count} rounds were run")
    return Going()


def beyond(config: RoundsConfig, figures: RoundFigures) -> Stopped | None:
    """The limit that a round's policy exceeds, or that could not be held against it; None within all limits."""
    limits = (
        (EndReason.MAXIMUM_KL, config.maximum_kl, figures.kl, "nats a completion from the base model"),
        (
            EndReason.MAXIMUM_LENGTH_RATIO,
            config.maximum_length_ratio,
            figures.length_ratio,
            "times the length of the base model's completions",
        ),
    )
    for reason, limit, found, unit in limits:
        if limit is None or (found is not None and found <= limit):
            continue
        said = "could not be measured" if found is None else f"is {found:.3f} {unit}"
        return Stopped(reason, f"round {figures.round}'s policy {said}; rounds.{reason.value} is {limit:g}")
    return None


def best_round(config: RoundsConfig, rounds: Sequence[RoundFigures]) -> RoundFigures | None:
    """Of the rounds within the limits whose gates hold, or where none's do of all of them, the highest win rate.

    The earlier of two equals; None without a round within the limits.
    """
    within = [figures for figures in rounds if beyond(config, figures) is None]
    return max(within, key=lambda figures: (figures.gates_hold, figures.win_rate), default=None)


def promotions(
    config: RoundsConfig, rounds: Sequence[RoundFigures], gates: Mapping[int, Promotion]
) -> dict[int, Promotion]:
    """By round, what becomes of its policy: the best one's as its gates say; the others are held back, and told why."""
    best = best_round(config, rounds)
    return {figures.round: _promotion(config, figures, best, gates[figures.round]) for figures in rounds}


def _promotion(config: RoundsConfig, figures: RoundFigures, best: RoundFigures | None, gates: Promotion) -> Promotion:
    if figures == best:
        return gates
    if (gone := beyond(config, figures)) is not None:
        reason = Reason(gate=f"rounds.{gone.reason.value}", held=False, detail=gone.detail)
    else:
        assert best is not None  # noqa: S101  this round is within the limits, so there is a best
        holds = "" if figures.gates_hold or not best.gates_hold else "holds every gate, and "
        detail = (
            f"round {best.round} is better: it {holds}wins {best.win_rate:.3f} against the base model, and this one "
            f"{figures.win_rate:.3f}"
        )
        reason = Reason(gate="best_round", held=False, detail=detail)
    return Promotion(promoted=False, reasons=[*gates.reasons, reason])
