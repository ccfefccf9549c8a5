"""What a run and its stages consumed."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field, computed_field

from app.rlaif.recipe import StageKind


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Usage(_Part):
    """What was consumed. A reused stage consumed nothing in the run that reuses it."""

    judge_usd: float = Field(examples=[0.0421])
    judge_calls: int = Field(examples=[2400])
    prompt_tokens: int = Field(description="Tokens that judges read", examples=[812_000])
    completion_tokens: int = Field(description="Tokens that judges wrote", examples=[2400])
    answers: int = Field(description="Verdicts and scores, INVALID ones too", examples=[2400])
    cached_answers: int = Field(description="Those of them that stored replies gave, at no cost", examples=[600])
    saved_usd: float = Field(description="What the stored replies had cost when they were paid for", examples=[0.0105])
    compute_seconds: float = Field(description="Worker seconds of all attempts, failed ones too", examples=[31.7])

    @computed_field(description="Share of the answers that stored replies gave; null before the first", examples=[0.25])  # type: ignore[prop-decorator]
    @property
    def cache_hit_rate(self) -> float | None:
        return self.cached_answers / self.answers if self.answers else None


class StageUsage(Usage):
    """What one stage consumed."""

    round: int = Field(examples=[0])
    stage: StageKind
    wall_seconds: float | None = Field(description="From first start to end, or to now; null before the start")


def total(parts: Iterable[Usage]) -> Usage:
    """The sum."""
    parts = list(parts)
    return Usage(
        judge_usd=sum(part.judge_usd for part in parts),
        judge_calls=sum(part.judge_calls for part in parts),
        prompt_tokens=sum(part.prompt_tokens for part in parts),
        completion_tokens=sum(part.completion_tokens for part in parts),
        answers=sum(part.answers for part in parts),
        cached_answers=sum(part.cached_answers for part in parts),
        saved_usd=sum(part.saved_usd for part in parts),
        compute_seconds=sum(part.compute_seconds for part in parts),
    )
