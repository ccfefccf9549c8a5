"""The pair-quality report as clients see it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.pair_figures import PairQuality, PromptsTooLong


class PairQualityOut(BaseModel):
    """What the pairs of a run's train split are like, known before anything is trained on them."""

    model_config = ConfigDict(frozen=True)

    run_id: str = Field(examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
    prompts_too_long: PromptsTooLong | None = Field(description="Null before a prompt was measured in tokens")
    pairs: PairQuality | None = Field(description="Null before the prefer stage has ended")
