"""Reads what a run's report is built from, and what the run consumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.db.models import (
    Calibration,
    Evaluation,
    Judge,
    MetricPoint,
    Run,
    RunKind,
    Stage,
)
from app.repositories import events, results
from app.repositories.results import Provenance
from app.repositories.run_inputs import asked_ids
from app.repositories.runs import RunRow, thinned_metric_points
from app.rlaif import findings, report
from app.rlaif.calibration_evidence import CalibrationReport
from app.rlaif.caveats import caveats
from app.rlaif.evidence import JudgeMetrics, PreferenceMetrics, RewardModelMetrics, WarmStartMetrics
from app.rlaif.findings import CalibrationFacts, Findings, JudgeFacts, Sweep, TrainingCurves
from app.rlaif.health import RaisedAlarm
from app.rlaif.pair_figures import PairQuality, PromptsTooLong
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.report import Report
from app.rlaif.selection import Selection
from app.rlaif.usage import StageUsage, total
from app.schemas.pair_quality import PairQualityOut
from app.schemas.stage import usage_of
from app.schemas.usage import UsageOut
from app.services import measuring, round_reports, runs, trajectories
from app.services.engine import EventType
from app.services.gates import own_calibration
from app.services.run_lineage import lineage

Metrics = TypeVar("Metrics", bound=BaseModel)

CURVE_POINTS = 200
"""Steps of a training that a report shows; all of them are at /metrics."""


def get(session: Session, project_id: str, run_id: str) -> Report:
    """The report of a run as it stands: what was not measured yet is absent. Raises NotFound."""
    row = runs.get(session, project_id, run_id)
    findings = _findings(session, row, runs.provenance(session, project_id, run_id))
    return report.build(findings, caveats(findings))


def usage(session: Session, project_id: str, run_id: str) -> UsageOut:
    """Raises NotFound."""
    stages = _usage(runs.get(session, project_id, run_id))
    return UsageOut(run_id=run_id, stages=stages, total=total(stages))


def pair_quality(session: Session, project_id: str, run_id: str) -> PairQualityOut:
    """Raises NotFound."""
    row = runs.get(session, project_id, run_id)
    stages = _stages(row, round_=round_reports.shown(session, row.run).round)
    return PairQualityOut(
        run_id=run_id,
        prompts_too_long=_too_long(stages.get(StageKind.SAMPLE)),
        pairs=_pairs(stages.get(StageKind.PREFER)),
    )


def evaluations(session: Session, project_id: str, run_id: str) -> list[Evaluation]:
    """Raises NotFound."""
    runs.mark(session, project_id, run_id)
    return results.evaluations(session, run_id)


def _findings(session: Session, row: RunRow, provenance: Provenance) -> Findings:
    run, shown = row.run, round_reports.shown(session, row.run)
    stages, evaluation = _stages(row, round_=shown.round), shown.evaluation
    return Findings(
        run=findings.RunFacts(
            id=run.id,
            name=run.name,
            status=run.status,
            seed=run.recipe["seed"],
            forked_from=run.forked_from_id,
            **_subjects(session, run),
            created_at=run.created_at,
            finished_at=run.finished_at,
        ),
        lineage=lineage(session, run, provenance),
        judge=_judge(
            session,
            run.judge_id,
            _reported(stages.get(StageKind.JUDGE), JudgeMetrics),
            calibration_id=Recipe.model_validate(run.recipe).judge.calibration,
        ),
        evaluation_judge=_judge(
            session, run.evaluation_judge_id, evaluation.judge if evaluation else None, calibration_id=None
        ),
        warm_start=_reported(stages.get(StageKind.WARM_START), WarmStartMetrics),
        prompts_too_long=_too_long(stages.get(StageKind.SAMPLE)),
        preferences=_reported(stages.get(StageKind.PREFER), PreferenceMetrics),
        pairs=_pairs(stages.get(StageKind.PREFER)),
        reward_model=_reported(stages.get(StageKind.REWARD_MODEL), RewardModelMetrics),
        evaluation=evaluation,
        frontier=round_reports.frontier(session, run),
        rounds=shown.rounds,
        sweeps=_sweeps(row.stages),
        curves=_curves(session, provenance),
        alarms=_alarms(session, provenance),
        usage=_usage(row),
        trajectories=trajectories.measured(row),
        endpoint=_endpoint(run),
        request=_request(run),
    )


def _subjects(session: Session, run: Run) -> dict[str, str | None]:
    """Names of what an evaluation without training compares."""
    measure = Recipe.model_validate(run.recipe).measure
    if measure is None:
        return {"measured": None, "baseline": None}
    return {field: measuring.subject_name(session, getattr(measure, field)) for field in ("measured", "baseline")}


def _stages(row: RunRow, *, round_: int) -> dict[StageKind, Stage]:
    """Those of one round, and what only rounds before it have."""
    return {stage.kind: stage for stage in row.stages if stage.round <= round_}


_LATER = {"ensemble": None}
"""What the metrics of runs from before it lack."""


def _reported(stage: Stage | None, schema: type[Metrics]) -> Metrics | None:
    """What a stage measured, once it has; until then `Stage.metrics` holds other figures."""
    figures: dict[str, Any] = {} if stage is None else stage.metrics
    known = {**_LATER, **figures}
    fields = {name: known[name] for name in schema.model_fields if name in known}
    return schema.model_validate(fields) if len(fields) == len(schema.model_fields) else None


def _pairs(stage: Stage | None) -> PairQuality | None:
    found = None if stage is None else stage.metrics.get("pair_quality")
    return None if found is None else PairQuality.model_validate(found)


def _too_long(stage: Stage | None) -> PromptsTooLong | None:
    """None before the sample stage has measured any prompt."""
    figures: dict[str, Any] = {} if stage is None else stage.metrics
    window, max_length = (figures.get(name) for name in ("prompts_too_long", "overlong_prompts"))
    if window is None and max_length is None:
        return None
    named = [*figures.get("prompts_too_long_ids", ()), *figures.get("overlong_prompts_ids", ())]
    return PromptsTooLong(window=window, max_length=max_length, named=list(dict.fromkeys(named)))


def _judge(
    session: Session, judge_id: str | None, metrics: JudgeMetrics | None, *, calibration_id: str | None
) -> JudgeFacts | None:
    """`calibration_id` is the one that the recipe names."""
    if judge_id is None:
        return None
    judge = session.get_one(Judge, judge_id)
    asked = [session.get_one(Judge, id_) for id_ in asked_ids(session, judge.id)]
    read_by = calibration_id or own_calibration(judge)
    return JudgeFacts(
        id=judge.id,
        name=judge.name,
        kind=judge.kind,
        family=judge.family,
        families=sorted({one.family for one in asked}),
        members=[one.name for one in asked if one.id != judge.id],
        metrics=metrics,
        calibration=None if read_by is None else _calibration(session, read_by),
    )


def _calibration(session: Session, calibration_id: str) -> CalibrationFacts:
    measured = CalibrationReport.model_validate(session.get_one(Calibration, calibration_id).report)
    return CalibrationFacts(
        id=calibration_id,
        measured_at=measured.measured_at,
        comparisons=measured.labels.comparisons,
        accuracy=measured.instrument.accuracy,
        prefer_longer=measured.prefer_longer,
        ece=measured.instrument.ece,
        curve=measured.instrument.curve,
    )


def _curves(session: Session, provenance: Provenance) -> list[TrainingCurves]:
    """Of the training stages that have measured a step, whoever executed them."""
    found: list[TrainingCurves] = []
    for stage in runs.executed_stages(session, provenance):
        if stage.kind not in (StageKind.WARM_START, StageKind.REWARD_MODEL, StageKind.POLICY):
            continue
        by_candidate = thinned_metric_points(session, stage.id, at_most=CURVE_POINTS)
        found += [_curve(stage, candidate, points) for candidate, points in by_candidate.items()]
    return found


def _curve(stage: Stage, candidate: int, points: Sequence[MetricPoint]) -> TrainingCurves:
    names = sorted({name for point in points for name, value in point.data.items() if _is_figure(value)})
    return TrainingCurves(
        round=stage.round,
        stage=stage.kind,
        candidate=candidate,
        steps=[point.step for point in points],
        figures={name: [_figure(point.data.get(name)) for point in points] for name in names},
    )


def _sweeps(stages: Sequence[Stage]) -> list[Sweep]:
    """Of each round, which candidate was selected and why, once that is known."""
    return [
        Sweep(round=stage.round, **Selection.model_validate(stage.metrics["sweep"]).model_dump())
        for stage in stages
        if stage.kind is StageKind.EVALUATE and "sweep" in stage.metrics
    ]


def _alarms(session: Session, provenance: Provenance) -> list[RaisedAlarm]:
    """Of the trainings that count for this run, whoever executed them."""
    places = {(stage.run_id, stage.kind.value, stage.round) for stage in runs.executed_stages(session, provenance)}
    found = [
        (run_id, RaisedAlarm.model_validate(event.data))
        for run_id in sorted({run_id for run_id, _, _ in places})
        for event in events.of_type(session, run_id, EventType.HEALTH_ALARM)
    ]
    return [alarm for run_id, alarm in found if (run_id, alarm.stage, alarm.round) in places]


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _figure(value: Any) -> float | None:
    return float(value) if _is_figure(value) else None


def _endpoint(run: Run) -> str:
    """Where a request for the same goes."""
    if run.recipe.get("trajectories"):
        return "/v1/trajectory-evaluations"
    return "/v1/evaluations" if run.kind is RunKind.EVALUATION else "/v1/runs"


def _request(run: Run) -> dict[str, Any]:
    """Ids, not contents: they name what cannot change."""
    parts = {
        "rubric": run.rubric_revision_id,
        "prompt_set": run.prompt_set_id,
        "base_model": run.base_model_id,
        "judge": run.judge_id,
        "evaluation_judge": run.evaluation_judge_id,
    }
    if run.recipe.get("trajectories"):
        return trajectories.request_again(run)
    if run.kind is RunKind.EVALUATION:
        return measuring.request_again(run)
    return {"name": f"{run.name} again", **{name: id_ for name, id_ in parts.items() if id_}, "recipe": run.recipe}


def _usage(row: RunRow) -> list[StageUsage]:
    return [
        StageUsage(
            **usage_of(stage).model_dump(),
            round=stage.round,
            stage=stage.kind,
            wall_seconds=_seconds(stage, row.now),
        )
        for stage in row.stages
    ]


def _seconds(stage: Stage, now: datetime) -> float | None:
    return None if stage.started_at is None else ((stage.finished_at or now) - stage.started_at).total_seconds()
