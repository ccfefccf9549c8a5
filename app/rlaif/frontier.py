"""Reward and win rate against KL, one row a policy: what was gained, and how far the policy went for it.

Past some KL a policy goes on to please what trained it and no longer the held-out judge (arXiv 2210.10760).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.evidence import EvaluationMetrics, WinRate
from app.rlaif.measured import Measured
from app.rlaif.rounds import EndReason


class FrontierPoint(BaseModel):
    """One policy of the run: a candidate of a round."""

    model_config = ConfigDict(frozen=True)

    round: int
    candidate: int
    checkpoint_id: str
    kl: Measured | None = Field(description="Nats a held-out completion from the run's base model")
    length_ratio: Measured | None = Field(description="Times the length of the base model's completions")
    reward_difference: float | None = Field(
        description="By the reward model of the round that trained the policy: rounds have scales of their own"
    )
    win_rate: WinRate = Field(description="Against the run's base model, by the evaluation judge")

    @classmethod
    def of(cls, metrics: EvaluationMetrics, *, round_: int, candidate: int, checkpoint_id: str) -> FrontierPoint:
        """By what the policy's evaluation measured."""
        gone = metrics.divergence
        return cls(
            round=round_,
            candidate=candidate,
            checkpoint_id=checkpoint_id,
            kl=gone.kl if gone else None,
            length_ratio=gone.length_ratio if gone else None,
            reward_difference=metrics.reward.difference if metrics.reward else None,
            win_rate=metrics.win_rate,
        )


class RoundsOutcome(BaseModel):
    """Which round won, and why no further round followed; both null before the rounds have ended."""

    model_config = ConfigDict(frozen=True)

    count: int = Field(description="At most so many", examples=[3])
    measured: int = Field(description="Rounds that were evaluated", examples=[2])
    best_round: int | None = Field(description="Null too where no round is within the limits", examples=[1])
    ended: EndReason | None
    detail: str | None
