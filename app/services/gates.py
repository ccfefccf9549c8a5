"""Whether a run may trust its judge: the calibration that it names, and the gates that its recipe sets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.models import Calibration, Judge, PromptSet, RubricRevision, Run
from app.errors import Conflict, InvalidInput
from app.repositories import calibrations
from app.repositories.run_inputs import asked_ids
from app.rlaif.calibration_evidence import CalibrationReport
from app.rlaif.evidence import JudgeMetrics
from app.rlaif.gates import GateFailure, explain, failed_by_calibration, failed_by_judging
from app.rlaif.judges import CascadeJudge, JudgeSpec, calibration_of
from app.rlaif.recipe import GatesConfig, Recipe, StageKind
from app.rlaif.sections import JudgeConfig
from app.services import calibration_reports
from app.services.run_parts import within

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)
_FIELD = "recipe.judge.calibration"
_DAY_S = 86_400


class CalibrationUnfit(InvalidInput):
    """Raised when a run names a calibration of another judge, another rubric revision or another mode."""


class GatesNeedCalibration(InvalidInput):
    """Raised when gates are set that only a calibration can decide, and the run names none."""


class CascadeNotCalibrated(InvalidInput):
    """Raised when a run would use a cascade whose thresholds no calibration has set."""


class GateFailed(Conflict):
    """Raised when the judge does not hold what the recipe demands of it; `failures` names every gate."""


def calibrations_of(recipe: Recipe, judge: Judge | None, evaluation_judge: Judge | None) -> tuple[str, ...]:
    """The calibrations that a run's judges stand on."""
    named = [recipe.judge.calibration, *(own_calibration(one) for one in (judge, evaluation_judge) if one is not None)]
    return tuple(dict.fromkeys(id_ for id_ in named if id_ is not None))


def require_calibrated(
    session: Session,
    project_id: str,
    recipe: Recipe,
    *,
    rubric: RubricRevision | None,
    prompt_set: PromptSet,
    judge: Judge | None,
    evaluation_judge: Judge | None,
) -> None:
    """Raises NotFound, CalibrationUnfit, CascadeNotCalibrated, NotMeasured, GatesNeedCalibration, GateFailed."""
    stages = recipe.stages()
    if StageKind.EVALUATE in stages and evaluation_judge is not None and rubric is not None:
        _fit_for(session, project_id, evaluation_judge, rubric, JudgeConfig(), field="evaluation_judge")
    if judge is None or rubric is None or StageKind.JUDGE not in stages:
        _require_nothing_named(recipe)
        return
    calibration = _fit_for(session, project_id, judge, rubric, recipe.judge, field="judge")
    if calibration is None:
        _require_no_gates(recipe.gates, judge, rubric)
        return
    _require_apart(session, calibration, prompt_set)
    _require_open(session, recipe.gates, calibration)


def require_judged(gates: GatesConfig, metrics: Mapping[str, Any]) -> None:
    """What verdicts that a fork reuses decide; `metrics` are those of the stage that made them. Raises GateFailed."""
    if gates.minimum_coverage is None and gates.minimum_consistency is None:
        return
    known = {name: metrics[name] for name in JudgeMetrics.model_fields if name in metrics}
    measured = JudgeMetrics.model_validate(known) if known else None
    _refuse(failed_by_judging(gates, measured), "the verdicts that the fork reuses")


def _require_nothing_named(recipe: Recipe) -> None:
    if recipe.judge.calibration is not None or recipe.gates.needing_calibration():
        raise CalibrationUnfit(
            "the recipe does not judge, so there is no judge to calibrate or to set gates for: leave "
            "recipe.judge.calibration and recipe.gates out",
            field=_FIELD,
        )


def _fit_for(
    session: Session, project_id: str, judge: Judge, rubric: RubricRevision, config: JudgeConfig, *, field: str
) -> Calibration | None:
    """The measured calibration by which the judge will be read; None where it is read as it is."""
    id_ = config.calibration or own_calibration(judge)
    if id_ is None:
        if judge.kind == "cascade":
            raise CascadeNotCalibrated(
                f"cascade {judge.name!r} has no calibration, so nothing says how sure its judges must be: make one, "
                f"{_curl(judge, rubric)}, and name it in {_FIELD}",
                field=field,
            )
        return None
    named = _FIELD if config.calibration is not None else field
    with within(named):
        row = calibration_reports.get(session, project_id, id_)
        calibration_reports.measured(row)
    calibration = row.calibration
    _require_fit(session, calibration, judge, rubric, config, field=named)
    return calibration


def _require_fit(
    session: Session, calibration: Calibration, judge: Judge, rubric: RubricRevision, config: JudgeConfig, *, field: str
) -> None:
    measured = session.get_one(Judge, calibration.judge_id)
    if not _same_instrument(session, measured, judge):
        raise CalibrationUnfit(
            f"calibration {calibration.id!r} is of judge {measured.name!r} ({measured.id}), and the run asks "
            f"{judge.name!r} ({judge.id}): name one of this judge, or make one, {_curl(judge, rubric)}",
            field=field,
        )
    if calibration.rubric_revision_id != rubric.id:
        raise CalibrationUnfit(
            f"calibration {calibration.id!r} is by rubric revision {calibration.rubric_revision_id!r}, and the run "
            f"judges by {rubric.id!r}: another rubric makes another judge; make one, {_curl(judge, rubric)}",
            field=field,
        )
    mode = Recipe.model_validate(session.get_one(Run, calibration.run_id).recipe).judge.mode
    if mode is not config.mode:
        raise CalibrationUnfit(
            f"calibration {calibration.id!r} asked in mode {mode.value!r}, and the run asks in mode "
            f"{config.mode.value!r}: calibrate in that mode",
            field=field,
        )


def _require_apart(session: Session, calibration: Calibration, prompt_set: PromptSet) -> None:
    """What fits the judge to people's labels must not be trained on: it would learn the labels, and look right."""
    labels = session.get_one(PromptSet, calibration.prompt_set_id)
    how = Recipe.model_validate(session.get_one(Run, calibration.run_id).recipe).calibrate
    if labels.digest == prompt_set.digest and (how is None or how.split != "held_out"):
        raise CalibrationUnfit(
            f"calibration {calibration.id!r} was fitted to the labels of prompt set {labels.id!r}, which the run would "
            'train on: train on other prompts, or calibrate on its held-out ones alone with "split": "held_out"',
            field=_FIELD,
        )


def _same_instrument(session: Session, measured: Judge, judge: Judge) -> bool:
    """The same judge; or a panel of the same judges; or a cascade of the same steps at the same risk."""
    if measured.id == judge.id:
        return True
    if measured.kind != judge.kind or judge.kind not in ("panel", "cascade"):
        return False
    one, other = asked_ids(session, measured.id), asked_ids(session, judge.id)
    specs = [_SPEC.validate_python(each.spec) for each in (measured, judge)]
    if judge.kind == "panel":
        return set(one) == set(other)
    risks = {(spec.maximum_risk, spec.then) for spec in specs if isinstance(spec, CascadeJudge)}
    return one == other and len(risks) == 1


def _require_no_gates(gates: GatesConfig, judge: Judge, rubric: RubricRevision) -> None:
    if asked := gates.needing_calibration():
        raise GatesNeedCalibration(
            f"recipe.gates.{asked[0]} is decided by a calibration, and the run names none: make one, "
            f"{_curl(judge, rubric)}, wait for it, and name it in {_FIELD}",
            field=f"recipe.gates.{asked[0]}",
        )


def _require_open(session: Session, gates: GatesConfig, calibration: Calibration) -> None:
    report = CalibrationReport.model_validate(calibration.report)
    now = session.scalars(select(func.now())).one()
    age_days = (now - report.measured_at).total_seconds() / _DAY_S
    drift = calibrations.latest_drift(session, calibration.id)
    reasons = None if drift is None else drift["reasons"]
    failures = failed_by_calibration(gates, report, age_days=age_days, drifted=reasons)
    _refuse(failures, f"calibration {calibration.id}")


def _refuse(failures: Sequence[GateFailure], measured: str) -> None:
    if failures:
        raise GateFailed(
            f"{explain(failures)} (measured by {measured})",
            field=f"recipe.gates.{failures[0].gate}",
            failures=[failure.model_dump(mode="json") for failure in failures],
        )


def own_calibration(judge: Judge) -> str | None:
    """That a panel or cascade is configured with."""
    return calibration_of(_SPEC.validate_python(judge.spec))


def _curl(judge: Judge, rubric: RubricRevision) -> str:
    """The request that would make what is missing."""
    body = json.dumps(
        {"name": judge.name, "judge": judge.id, "rubric_revision_id": rubric.id, "prompt_set": "<labelled set>"}
    )
    return (
        'curl -X POST $RLAIF_URL/v1/calibrations -H "Authorization: Bearer $RLAIF_API_KEY" '
        f"-H 'Content-Type: application/json' -d '{body}'"
    )
