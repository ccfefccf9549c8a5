"""What a report is built from: the facts of a run as a service read them, none of them filled in."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.calibration_evidence import CurveBin
from app.rlaif.evidence import (
    EvaluationMetrics,
    JudgeMetrics,
    PreferenceMetrics,
    RewardModelMetrics,
    WarmStartMetrics,
)
from app.rlaif.frontier import FrontierPoint, RoundsOutcome
from app.rlaif.health import RaisedAlarm
from app.rlaif.measured import Measured
from app.rlaif.pair_figures import PairQuality, PromptsTooLong
from app.rlaif.recipe import StageKind
from app.rlaif.selection import Selection
from app.rlaif.trajectory_evidence import TrajectoryMetrics
from app.rlaif.usage import StageUsage


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunFacts(_Part):
    """Which run, and how it ended."""

    id: str
    name: str
    status: str
    seed: int
    forked_from: str | None
    measured: str | None = Field(description="Name of what was measured, where nothing was trained")
    baseline: str | None = Field(description="Name of what that was measured against")
    created_at: datetime
    finished_at: datetime | None


class CalibrationFacts(_Part):
    """How the judge stood to people's labels, by the calibration that it is read with; what is fitted, out of fold."""

    id: str
    measured_at: datetime
    comparisons: int
    accuracy: Measured | None
    prefer_longer: Measured | None
    ece: Measured | None
    curve: list[CurveBin] = Field(description="By tenths of confidence, how often it is right")


class JudgeFacts(_Part):
    """A judge and how it behaved; `metrics` is null when it did not judge.

    `families` are of those who are asked, `members` the names of a panel's or cascade's judges. `calibration` is null
    where nobody has compared the judge with people.
    """

    id: str
    name: str
    kind: str
    family: str
    families: list[str]
    members: list[str]
    metrics: JudgeMetrics | None
    calibration: CalibrationFacts | None


class RubricLineage(_Part):
    """The rubric revision that was judged by."""

    rubric_id: str
    revision_id: str
    name: str
    number: int
    content_hash: str


class PromptSetLineage(_Part):
    """The prompts that were asked."""

    id: str
    name: str
    digest: str
    train_count: int
    held_out_count: int


class ModelLineage(_Part):
    """The model that the run started from."""

    id: str
    name: str
    source: str
    family: str
    digest: str


class CheckpointLineage(_Part):
    """One of the run's checkpoints."""

    id: str
    run_id: str
    round: int
    candidate: int
    kind: str
    step: int
    digest: str
    size_bytes: int


class Lineage(_Part):
    """Everything a result was learned from, by content."""

    rubric: RubricLineage | None
    prompt_set: PromptSetLineage
    base_model: ModelLineage | None  # None for a run that trains nothing
    checkpoints: list[CheckpointLineage]
    reused_stages: dict[StageKind, str] = Field(description="Stage -> the run that executed it")


class TrainingCurves(_Part):
    """What a training stage measured as it went, thinned evenly; a figure that a step did not have is null there."""

    round: int
    stage: StageKind
    candidate: int = Field(description="Of a sweep; else 0")
    steps: list[int]
    figures: dict[str, list[float | None]] = Field(description="By name, as many values as steps")


class Sweep(Selection):
    """Of a round, every candidate, the one that was selected, and why."""

    round: int


class Findings(_Part):
    """What the report is built from."""

    run: RunFacts
    lineage: Lineage
    judge: JudgeFacts | None
    evaluation_judge: JudgeFacts | None
    warm_start: WarmStartMetrics | None
    prompts_too_long: PromptsTooLong | None
    preferences: PreferenceMetrics | None
    pairs: PairQuality | None
    reward_model: RewardModelMetrics | None
    evaluation: EvaluationMetrics | None  # of the best round, where there are several
    frontier: list[FrontierPoint]
    rounds: RoundsOutcome | None
    sweeps: list[Sweep]
    curves: list[TrainingCurves]
    alarms: list[RaisedAlarm]
    usage: list[StageUsage]
    trajectories: TrajectoryMetrics | None
    endpoint: str  # where the request goes
    request: dict[str, Any]  # the body of the request that asks for the same again
