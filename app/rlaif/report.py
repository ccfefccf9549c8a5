"""The report: one document that says what a run achieved, how far to believe it, what it cost and where it came from.

Pure: it is built from `Findings`, which a service read, and no figure that was not measured is ever filled in.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, computed_field

from app.rlaif.calibration_evidence import CurveBin
from app.rlaif.evaluator import EvaluatorResult
from app.rlaif.evidence import (
    BestOfN,
    Distribution,
    EvaluationMetrics,
    Example,
    JudgeMetrics,
    LengthDifference,
    PreferenceMetrics,
    Promotion,
    Refusals,
    RewardDifference,
    RewardModelMetrics,
    WarmStartMetrics,
    WinRate,
)
from app.rlaif.frontier import FrontierPoint, RoundsOutcome
from app.rlaif.health import RaisedAlarm
from app.rlaif.measured import Measured
from app.rlaif.pair_figures import PairQuality, PromptsTooLong
from app.rlaif.recipe import StageKind
from app.rlaif.selection import Selection
from app.rlaif.task_evidence import TaskResult


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
    request: dict[str, Any]  # the body of the request that asks for the same again


class Headline(_Part):
    """The first thing to read."""

    sentence: str
    win_rate: WinRate | None
    control: WinRate | None
    judge: str | None = Field(description="Name of the judge that measured it")
    circular: bool | None = Field(description="True when that judge also labelled the training data")


class Caveat(_Part):
    """A reason for doubt: `code` is stable."""

    code: str
    detail: str


class Report(_Part):
    """The evidence that a run leaves: what was measured, what to doubt, what it was learned from, what it cost."""

    run: RunFacts
    headline: Headline
    caveats: list[Caveat]
    promotion: Promotion | None = Field(
        description="Null before the evaluation; a checkpoint is promoted by the evaluation of the run that trained it"
    )
    sweeps: list[Sweep] = Field(description="One a round; empty where nothing is swept")
    by_cohort: dict[str, WinRate]
    best_of_n: list[BestOfN] = Field(description="Base completions chosen by the reward model")
    chosen_by_reward: WinRate | None = Field(
        description="The evaluation judge on the reward model's choice between two base completions"
    )
    refusals: dict[str, Refusals] = Field(description="By cohort, answers with a phrase of refusal")
    tasks: dict[str, TaskResult] = Field(description="Capability tasks, by the name that the recipe gives them")
    evaluators: dict[str, EvaluatorResult] = Field(description="Every compared answer rated by itself, by evaluator")
    length: LengthDifference | None
    reward: RewardDifference | None
    tokens: Distribution | None
    rewards: Distribution | None
    frontier: list[FrontierPoint] = Field(description="KL, reward and win rate of every policy of the run")
    rounds: RoundsOutcome | None = Field(description="Null for a recipe without rounds; the report is of the best one")
    reward_model: RewardModelMetrics | None
    curves: list[TrainingCurves]
    judge: JudgeFacts | None
    evaluation_judge: JudgeFacts | None
    disagreement_with_training_judge: float | None
    warm_start: WarmStartMetrics | None
    prompts_too_long: PromptsTooLong | None
    preferences: PreferenceMetrics | None
    pairs: PairQuality | None
    usage: list[StageUsage]
    total: Usage
    lineage: Lineage
    reproduce: list[str] = Field(description="Shell commands; they need RLAIF_URL and RLAIF_API_KEY")
    examples: list[Example]


def build(findings: Findings, caveats: list[Caveat]) -> Report:
    """The document; `caveats` come from app.rlaif.caveats."""
    measured = findings.evaluation
    return Report(
        run=findings.run,
        headline=_headline(findings),
        caveats=caveats,
        promotion=measured.promotion if measured else None,
        sweeps=findings.sweeps,
        by_cohort=measured.by_cohort if measured else {},
        best_of_n=measured.best_of_n if measured else [],
        chosen_by_reward=measured.chosen_by_reward if measured else None,
        refusals=measured.refusals if measured else {},
        tasks=measured.tasks if measured else {},
        evaluators=measured.evaluators if measured else {},
        length=measured.length if measured else None,
        reward=measured.reward if measured else None,
        tokens=measured.tokens if measured else None,
        rewards=measured.rewards if measured else None,
        frontier=findings.frontier,
        rounds=findings.rounds,
        reward_model=findings.reward_model,
        curves=findings.curves,
        judge=findings.judge,
        evaluation_judge=findings.evaluation_judge,
        disagreement_with_training_judge=measured.disagreement_with_training_judge if measured else None,
        warm_start=findings.warm_start,
        prompts_too_long=findings.prompts_too_long,
        preferences=findings.preferences,
        pairs=findings.pairs,
        usage=findings.usage,
        total=total(findings.usage),
        lineage=findings.lineage,
        reproduce=_reproduce(findings),
        examples=measured.examples if measured else [],
    )


def _reproduce(findings: Findings) -> list[str]:
    """The same run again, and where its results are. Everything is quoted for a POSIX shell."""
    curl = 'curl --fail-with-body --header "Authorization: Bearer $RLAIF_API_KEY"'
    body = json.dumps(findings.request, separators=(",", ":"))
    path = "/v1/runs" if findings.run.measured is None else "/v1/evaluations"
    asked = f'{curl} --json {shlex.quote(body)} "$RLAIF_URL{path}"'
    files = [
        f'{curl} --remote-header-name --remote-name "$RLAIF_URL/v1/checkpoints/{checkpoint.id}/archive"'
        for checkpoint in findings.lineage.checkpoints
    ]
    verdicts = f'{curl} --output verdicts.jsonl "$RLAIF_URL/v1/runs/{findings.run.id}/verdicts?format=jsonl"'
    return [asked, *files, verdicts]


def _headline(findings: Findings) -> Headline:
    measured, judge = findings.evaluation, findings.evaluation_judge
    if measured is None or judge is None:
        sentence = f"Nothing was evaluated: the run is {findings.run.status}."
        return Headline(sentence=sentence, win_rate=None, control=None, judge=None, circular=None)
    return Headline(
        sentence=_sentence(measured.win_rate, judge.name, findings.run),
        win_rate=measured.win_rate,
        control=measured.control,
        judge=judge.name,
        circular=measured.circular,
    )


def _sentence(rate: WinRate, judge: str, run: RunFacts) -> str:
    ours = "the trained policy" if run.measured is None else repr(run.measured)
    theirs = "the base model" if run.baseline is None else repr(run.baseline)
    shown = f"{ours} beats {theirs}" if rate.low > 0.5 else f"no gain over {theirs} is shown"
    interval = f"{rate.confidence:.0%} interval {rate.low:.3f} to {rate.high:.3f}"
    sentence = (
        f"On {rate.n_prompts} held-out prompts {shown}: win rate {rate.value:.3f} ({interval}), judged by {judge!r}."
    )
    if (equal := rate.length_controlled) is None:
        return sentence
    return f"{sentence} At equal length it is {equal.value:.3f} ({equal.low:.3f} to {equal.high:.3f})."
