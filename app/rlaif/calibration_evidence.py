"""What a calibration measured, as stored and reported. A figure that could not be measured is None, never zero."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.caveat import Caveat
from app.rlaif.comparison import InvalidReason
from app.rlaif.measured import Measured

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CurveBin(_Part):
    """Comparisons whose confidence, max(p, 1 - p), is in one tenth of [0.5, 1]."""

    low: Share
    high: Share
    count: Count
    confidence: Share
    accuracy: Share


class AtCoverage(_Part):
    """The comparisons with at least this confidence: what share of all they are, and how often they are right."""

    coverage: Share
    confidence: Share
    accuracy: Share
    n: Count


class Labels(_Part):
    """What people said."""

    comparisons: Count = Field(description="That people's answers settle: what is measured against")
    prompts: Count
    ties: Count = Field(description="Of `comparisons`, those that people find equal")
    unsettled: Count = Field(description="Left out: people's answers contradict each other")
    several: Count = Field(description="Answered by two people or more")
    alpha: Measured | None = Field(description="Krippendorff's alpha between people, nominal")
    kappa: Measured | None = Field(description="Cohen's kappa over all pairs of people")
    one_against_others: Measured | None = Field(
        description="How often one person answers what the others settle on, non-ties: the ceiling for any judge"
    )


class Agreement(_Part):
    """How one probability per comparison stands to people's labels."""

    coverage: Measured | None = Field(description="Share of the comparisons with a probability at all")
    accuracy: Measured | None = Field(description="Of what people decided; a tie given is half. Chance is 0.5")
    three_way_accuracy: Measured | None = Field(description="Ties are an answer too")
    kappa: Measured | None
    brier: Measured | None = Field(description="Mean squared error of the probability")
    ece: Measured | None = Field(description="Expected calibration error, 10 bins of confidence")
    curve: tuple[CurveBin, ...]


class JudgeFigures(_Part):
    """One judge. `stated` is its probability as it gave it, `calibrated` by a map fitted on other prompts."""

    judge_id: str
    name: str
    family: str
    stated: Agreement
    calibrated: Agreement
    map: Literal["temperature", "isotonic"] = Field(description="The one with the smaller out-of-fold Brier score")
    position_consistency: Measured | None = Field(description="Share of comparisons whose two orders agree")
    first_position_preference: Measured | None = Field(description="(first shown both times - second both times) / n")
    length_bias: Measured | None = Field(description="Prefers the longer, less how often people do on the same pairs")
    self_preference: Measured | None = Field(
        description="P(its own family's, people say other) - P(other's, people say own); null where no author is known"
    )
    invalid: dict[InvalidReason, Measured] = Field(description="Missing answers of all that were asked, by reason")
    invalid_by_cohort: dict[str, Measured]


class PanelFigures(_Part):
    """What several judges add to one. Out of fold."""

    weights: dict[str, float]
    effective_votes: Annotated[float, Field(ge=1)]
    equal_votes_accuracy: Measured | None
    best_judge: str = Field(description="The member with the highest accuracy")
    gain_over_best: Measured | None = Field(description="Accuracy less the best member's, on the same comparisons")


class StepFigures(_Part):
    """One step of a cascade."""

    judge_id: str
    threshold: float | None = Field(description="Least calibrated confidence that decides; null: it decides nothing")
    decided: Share = Field(description="Of all comparisons, those that this step decides; in sample")
    risk_bound: Share | None = Field(
        description="Upper confidence bound of how often people prefer the other side of what it decides"
    )


class CascadeFigures(_Part):
    """What a cascade saves and leaves open."""

    maximum_risk: Share
    confidence: Share
    steps: tuple[StepFigures, ...]
    undecided: Share = Field(description="In sample, what no step decides")


class CalibrationReport(_Part):
    """A judge, measured on people's labels under one rubric revision. All figures of `instrument` are out of fold."""

    judge_id: str
    judge_name: str
    judge_kind: str
    judge_family: str
    rubric_revision_id: str
    rubric_hash: str
    prompt_set_id: str
    prompt_set_digest: str
    run_id: str
    measured_at: datetime
    folds: Count
    labels: Labels
    prefer_longer: Measured | None = Field(description="Accuracy of always preferring the longer one, same comparisons")
    instrument: Agreement
    gain_over_longer: Measured | None = Field(description="Accuracy less that of preferring the longer one")
    position_consistency: Measured | None = Field(
        description="Share of judges that keep to their side under exchanged order, mean over comparisons"
    )
    at_coverage: tuple[AtCoverage, ...]
    judges: tuple[JudgeFigures, ...]
    panel: PanelFigures | None
    cascade: CascadeFigures | None
    fitted: dict[str, Any] = Field(description="What a run with this calibration uses")
    caveats: tuple[Caveat, ...]
