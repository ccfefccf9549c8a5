"""The pair-quality report: what the pairs to train on are like."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.evidence import Count, Number, Share
from app.rlaif.preferences import DropReason


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Duplicates(_Part):
    """What stands in the data more than once, by its text."""

    pairs: Count = Field(
        description="Pairs that repeat an earlier pair of the same prompt and the same two completions"
    )
    prompts: Count = Field(description="Prompts whose text is that of an earlier prompt")
    completions: Count = Field(description="Texts that answer more than one prompt")


class LengthSkew(_Part):
    """Characters of the preferred completion against those of the other one."""

    preferred_longer: Share = Field(description="Among pairs whose completions differ in length")
    mean_difference: Number = Field(description="Preferred less other, in characters", examples=[41.5])
    auc: Share = Field(description="How well length alone predicts the preferred side: 0.5 is not at all")


class SurfaceFigures(_Part):
    """What a logistic regression on length, layout, openers and refusals decides, cross-validated by prompts."""

    sampled_pairs: Count
    accuracy: Share
    separable: Share = Field(description="Pairs that it decides rightly with more than 0.95 confidence")
    strongest: list[str] = Field(examples=[["more length", "less refusal"]])


class CohortBalance(_Part):
    """One cohort's pairs; `first` and `second` count kept ones by the preferred side."""

    pairs: Count
    kept: Count
    first: Count
    second: Count
    ties: Count


class PairWarning(_Part):
    """What is wrong with the data, and what to do; `code` is stable."""

    code: str = Field(examples=["length_decides"])
    detail: str
    remedy: str


class PromptsTooLong(_Part):
    """Prompts that leave no room for an answer, of those that the sample stage has measured so far."""

    window: Count | None = Field(description="Not sampled: beyond the model's window; null where nothing is sampled")
    max_length: Count | None = Field(description="Of train prompts: their pairs are left out of training")
    named: list[str] = Field(description="The first of them, by their ids in the prompt set")


class PairQuality(_Part):
    """The train split's pairs as the reward model and the policy will see them, and what was kept from them."""

    pairs: Count
    kept: Count
    dropped: dict[DropReason, Annotated[int, Field(ge=1)]]
    duplicates: Duplicates
    inconsistent: Share | None = Field(description="Whose two orders contradict; null where nothing was asked twice")
    ties: Share | None = Field(description="Of the kept pairs; null without any")
    margins: list[int] = Field(description="Kept pairs by |2p - 1|, in tenths from 0 to 1")
    length: LengthSkew | None = Field(description="Null when no kept pair prefers a side")
    surface: SurfaceFigures | None = Field(description="Null where pairs are too few to tell")
    cohorts: dict[str, CohortBalance]
    warnings: list[PairWarning]
