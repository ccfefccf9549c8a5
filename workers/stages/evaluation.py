"""What the evaluation judge's verdicts say of the policy, of the base model against itself, and of the judge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.db.models import CompletionSource, Judge, Purpose, RubricRevision, Run, Stage
from app.repositories.run_inputs import members
from app.rlaif.calibration import disagreement
from app.rlaif.evidence import (
    BestOfN,
    Distribution,
    Divergence,
    EvaluationMetrics,
    LengthDifference,
    RewardDifference,
    WinRate,
)
from app.rlaif.length_control import Contest, length_controlled
from app.rlaif.pipeline import CANDIDATES
from app.rlaif.promotion import promotion
from app.rlaif.recipe import StageKind
from app.rlaif.seeds import derive_seed
from app.rlaif.selection import Outcomes
from app.rlaif.significance import holm
from app.rlaif.statistics import distribution, length_difference, win_rate
from app.rlaif.task_evidence import TaskResult
from app.services.independence import is_circular, weights_of, with_teachers
from app.services.measuring import taught_or_asked
from app.services.warm_start_rules import critic_of
from workers.stages.contract import StageContext, StageRefused
from workers.stages.evaluation_texts import examples, refusals_by_cohort
from workers.stages.inputs import StageInputs
from workers.stages.instrument import Reading, Side, all_readings, behaviour, require_coverage
from workers.stages.meeting import Meeting, chances, meeting_of, outcomes
from workers.stages.panel import instrument_of
from workers.stages.rate import Met, evaluator_results


@dataclass(frozen=True, slots=True)
class Measured:
    """What one policy showed, and the outcomes that its win rate rests on."""

    metrics: EvaluationMetrics
    outcomes: Outcomes


@dataclass(frozen=True, slots=True)
class _Common:
    """What is measured without a policy, and holds for all that are measured together."""

    control: WinRate | None
    chosen_by_reward: WinRate | None
    disagreement: float | None
    circular: bool


def measure(context: StageContext, inputs: StageInputs, candidates: Collection[int]) -> tuple[dict[int, Measured], int]:
    """Each policy that has a valid comparison, by candidate, and how many comparisons were read.

    Raises StageRefused when verdicts are missing beyond the recipe's floor, or altogether.
    """
    work, judge = context.work, inputs.evaluation_judge()
    with context.read() as session:
        reader = instrument_of(session, judge, calibration=None)
    readings = all_readings(
        context,
        inputs,
        run_id=work.run_id,
        judge=judge,
        purpose=Purpose.EVALUATION,
        round_=work.round,
        instrument=reader,
    )
    floor = work.recipe.evaluate.minimum_coverage
    require_coverage(behaviour(readings), floor=floor, judge=judge, part="evaluate")
    sides = [(reading, meeting_of(reading)) for reading in readings]
    controls = [pair for pair in sides if pair[1].ours.source is not CompletionSource.POLICY]
    common = _common(context, inputs, [item for _, item in controls])
    found = {}
    for candidate in candidates:
        contests = [pair for pair in sides if pair[1].is_of(candidate)]
        metrics = _metrics(context, inputs, common, candidate, [item for _, item in contests], [*controls, *contests])
        if metrics is not None:
            found[candidate] = Measured(metrics, outcomes([item for _, item in contests]))
    if not found:
        raise StageRefused("nothing_to_evaluate", "no held-out comparison has a valid verdict: add held-out prompts")
    return found, len(readings)


def _common(context: StageContext, inputs: StageInputs, controls: Sequence[Meeting]) -> _Common:
    return _Common(
        control=_win_rate(context, controls),
        chosen_by_reward=_win_rate(context, (item.by_reward() for item in controls)),
        disagreement=_disagreement(context, inputs, controls),
        circular=_circular(context, inputs),
    )


def _metrics(
    context: StageContext,
    inputs: StageInputs,
    common: _Common,
    candidate: int,
    contests: Sequence[Meeting],
    judged: Sequence[tuple[Reading, Meeting]],
) -> EvaluationMetrics | None:
    """None without a valid comparison."""
    if (overall := _controlled(context, contests)) is None:
        return None
    by_cohort, scored = _by_cohort(context, contests), _scored(context, candidate)
    tasks = {name: TaskResult.model_validate(found) for name, found in scored.get("tasks", {}).items()}
    met = [Met(item.unit, item.cohort, item.ours.id, item.theirs.id) for item in contests]
    evaluators = evaluator_results(context, inputs, met)
    return EvaluationMetrics(
        win_rate=overall,
        by_cohort=by_cohort,
        control=common.control,
        judge=behaviour(reading for reading, _ in judged),
        length=_length(contests),
        reward=None if (reward := scored.get("reward")) is None else RewardDifference.model_validate(reward),
        divergence=None if (gone := scored.get("divergence")) is None else Divergence.model_validate(gone),
        disagreement_with_training_judge=common.disagreement,
        circular=common.circular,
        examples=examples(context, contests),
        tokens=_distribution(contests, lambda side: side.length),
        rewards=_distribution(contests, lambda side: side.reward),
        best_of_n=[BestOfN.model_validate(figure) for figure in scored.get("best_of_n", ())],
        chosen_by_reward=common.chosen_by_reward,
        refusals=refusals_by_cohort(context, contests),
        tasks=tasks,
        evaluators=evaluators,
        promotion=promotion(context.work.recipe.evaluate.gates, overall, by_cohort, tasks, evaluators),
    )


def _win_rate(context: StageContext, meetings: Iterable[Meeting]) -> WinRate | None:
    """None without a valid comparison."""
    config = context.work.recipe.evaluate
    chances: dict[str, list[float]] = defaultdict(list)
    for meeting in meetings:
        if meeting.probability is not None:
            chances[meeting.unit].append(meeting.probability)
    if not chances:
        return None
    return win_rate(chances, rng=_rng(context), samples=config.bootstrap_samples, confidence=config.confidence)


def _controlled(context: StageContext, meetings: Sequence[Meeting]) -> WinRate | None:
    """The win rate, and beside it the one at equal length. None without a valid comparison."""
    rate, config = _win_rate(context, meetings), context.work.recipe.evaluate
    if rate is None:
        return None
    contests: dict[str, list[Contest]] = defaultdict(list)
    for meeting in meetings:
        if meeting.probability is not None:
            contest = Contest(meeting.probability, meeting.ours.length, meeting.theirs.length)
            contests[meeting.unit].append(contest)
    found = length_controlled(
        contests, rng=_rng(context), samples=config.bootstrap_samples, confidence=config.confidence
    )
    return rate.model_copy(update={"length_controlled": found})


def _rng(context: StageContext) -> np.random.Generator:
    return np.random.default_rng(derive_seed(context.work.recipe.seed, context.work.round, "bootstrap"))


def _by_cohort(context: StageContext, meetings: Sequence[Meeting]) -> dict[str, WinRate]:
    cohorts = sorted({meeting.cohort for meeting in meetings})
    rates = {name: _controlled(context, [item for item in meetings if item.cohort == name]) for name in cohorts}
    found = {name: rate for name, rate in rates.items() if rate is not None}
    adjusted = holm({name: rate.p_value for name, rate in found.items() if rate.p_value is not None})
    return {name: rate.model_copy(update={"holm_p_value": adjusted[name]}) for name, rate in found.items()}


def _length(meetings: Iterable[Meeting]) -> LengthDifference:
    """Of what was judged; there is at least one."""
    return length_difference(
        [(item.probability, item.ours.length, item.theirs.length) for item in meetings if item.probability is not None]
    )


def _distribution(meetings: Sequence[Meeting], figure: Callable[[Side], float | None]) -> Distribution | None:
    """Of every completion that met another one and has the figure."""
    base, policy = (
        [value for side in sides if (value := figure(side)) is not None]
        for sides in ([item.theirs for item in meetings], [item.ours for item in meetings])
    )
    return distribution(base, policy)


def _scored(context: StageContext, candidate: int) -> dict[str, Any]:
    """What the score phase measured of a policy."""
    with context.read() as session:
        known = session.get_one(Stage, context.work.stage_id).metrics
    of_candidates: dict[str, dict[str, Any]] = known.get(CANDIDATES, {})
    return of_candidates.get(str(candidate), {}) if context.work.recipe.sweep else dict(known)


def _disagreement(context: StageContext, inputs: StageInputs, controls: Sequence[Meeting]) -> float | None:
    """Over the first round's completions that both judges compared, and on which both prefer a side."""
    if inputs.judge_behind is None:
        return None
    run_id, judge = inputs.first[StageKind.JUDGE], inputs.judge_behind
    trained = all_readings(context, inputs, run_id=run_id, judge=judge, purpose=Purpose.HELD_OUT, round_=0)
    return disagreement(chances(controls), chances(meeting_of(reading) for reading in trained))


def _circular(context: StageContext, inputs: StageInputs) -> bool:
    """Whether the instrument that labelled or rewarded also measures; the client was asked to allow it."""
    labelling = [] if inputs.judge_behind is None else members(inputs.judge_behind)
    rewarding = members(inputs.training_judge()) if context.work.recipe.rewards_by_judge() else []
    with context.read() as session:
        run = session.get_one(Run, context.work.run_id)
        rubric = session.get(RubricRevision, run.rubric_revision_id) if run.rubric_revision_id else None
        critic = critic_of(session, context.work.recipe, project_id=context.work.project_id)
        asked = [session.get_one(Judge, row.id) for row in (*labelling, *rewarding)]
        asked += [] if critic is None else [critic]
        asked += taught_or_asked(session, context.work.recipe.measure)
        asked_later = [session.get_one(Judge, row.id) for row in members(inputs.evaluation_judge())]
        judges, measuring = with_teachers(session, asked), with_teachers(session, asked_later)
        return is_circular(judges, measuring, rubric, weights=weights_of(session, *judges, *measuring))
