"""The report: one document that says what a run achieved, how far to believe it, what it cost and where it came from.

Pure: it is built from `Findings`, which a service read, and no figure that was not measured is ever filled in.
"""

from __future__ import annotations

import json
import shlex

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.caveat import Caveat
from app.rlaif.evaluator import EvaluatorResult
from app.rlaif.evidence import (
    BestOfN,
    Distribution,
    Example,
    LengthDifference,
    PreferenceMetrics,
    Promotion,
    Refusals,
    RewardDifference,
    RewardModelMetrics,
    WarmStartMetrics,
    WinRate,
)
from app.rlaif.findings import Findings, JudgeFacts, Lineage, RunFacts, Sweep, TrainingCurves
from app.rlaif.frontier import FrontierPoint, RoundsOutcome
from app.rlaif.pair_figures import PairQuality, PromptsTooLong
from app.rlaif.task_evidence import TaskResult
from app.rlaif.trajectory_evidence import TrajectoryMetrics
from app.rlaif.usage import StageUsage, Usage, total


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Headline(_Part):
    """The first thing to read."""

    sentence: str
    win_rate: WinRate | None
    control: WinRate | None
    judge: str | None = Field(description="Name of the judge that measured it")
    circular: bool | None = Field(description="True when that judge also labelled the training data")


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
    trajectories: TrajectoryMetrics | None = Field(description="Null for a run that rates no trajectories")
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
        trajectories=findings.trajectories,
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
    asked = f'{curl} --json {shlex.quote(body)} "$RLAIF_URL{findings.endpoint}"'
    files = [
        f'{curl} --remote-header-name --remote-name "$RLAIF_URL/v1/checkpoints/{checkpoint.id}/archive"'
        for checkpoint in findings.lineage.checkpoints
    ]
    if findings.trajectories is not None:
        outcomes = (
            f'{curl} --output trajectories.jsonl "$RLAIF_URL/v1/runs/{findings.run.id}/trajectories?format=jsonl"'
        )
        return [asked, outcomes]
    verdicts = f'{curl} --output verdicts.jsonl "$RLAIF_URL/v1/runs/{findings.run.id}/verdicts?format=jsonl"'
    return [asked, *files, verdicts]


def _headline(findings: Findings) -> Headline:
    measured, judge = findings.evaluation, findings.evaluation_judge
    if findings.trajectories is not None and judge is not None:
        sentence = _trajectories(findings.trajectories, judge.name)
        return Headline(sentence=sentence, win_rate=None, control=None, judge=judge.name, circular=None)
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


def _trajectories(found: TrajectoryMetrics, judge: str) -> str:
    overall = found.overall
    if (rate := overall.success.rate) is None:
        return f"None of {overall.success.trajectories} trajectories was judged: every rating by {judge!r} is missing."
    most = overall.pass_hat[-1]
    return (
        f"Of {rate.n} trajectories {rate.value:.1%} succeed (95% interval {rate.low:.3f} to {rate.high:.3f}), judged "
        f"by {judge!r}; pass^{most.k} is {most.value.value:.3f}."
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
