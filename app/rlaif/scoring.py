"""Rewards: what one is made of, and what a run does that only scores given texts with a trained reward model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Annotated, Self

from pydantic import Field

from app.rlaif.sections import Section


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward model's: of an ensemble the mean, and the standard deviation of its members; None where it is one."""

    value: float
    spread: float | None

    @classmethod
    def of(cls, members: Sequence[float]) -> Self:
        return cls(fmean(members), pstdev(members) if len(members) > 1 else None)


class ScoreConfig(Section):
    """Which reward model scores, and how its work is cut."""

    checkpoint: Annotated[str, Field(min_length=1, max_length=100)]
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = 32
    prompts_per_shard: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 2048
