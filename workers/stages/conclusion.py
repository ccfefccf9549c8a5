"""Ends an evaluation: of several candidates one is selected, each is promoted or held back; all is written at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlalchemy import select as select_rows
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Evaluation, Stage
from app.repositories.checkpoints import CheckpointRow, set_promotion, set_selected
from app.repositories.units import add_missing
from app.rlaif.evidence import EvaluationMetrics, Promotion, Reason
from app.rlaif.pipeline import CANDIDATES
from app.rlaif.recipe import StageKind
from app.rlaif.seeds import derive_seed
from app.rlaif.selection import SELECTED, Contender, Selection, Standing, guarded, select
from app.rlaif.sweep import evaluated
from app.services.engine import EventType, emit
from workers.stages.contract import StageContext, StageOutcome
from workers.stages.evaluation import Measured, measure
from workers.stages.inputs import StageInputs


def conclude(context: StageContext, inputs: StageInputs, checkpoints: Mapping[int, CheckpointRow]) -> StageOutcome:
    """Write the evaluation of each candidate, and which of them is selected. Raises StageRefused."""
    measured, readings = measure(context, inputs, list(checkpoints))
    metrics = {candidate: found.metrics for candidate, found in measured.items()}
    selection = None
    if len(evaluated(context.work.recipe)) > 1:
        selection = _selection(context, checkpoints, measured)
        metrics = {candidate: _weighed(found, candidate, selection) for candidate, found in metrics.items()}
    best = selection.selected if selection else next(iter(metrics))
    with context.transaction() as session:
        added = [
            _save(session, context, checkpoints[candidate], inputs, metrics[candidate], is_selected=candidate == best)
            for candidate in sorted(metrics, key=lambda candidate: candidate == best)  # the selected one's is the last
        ]
        if selection is not None and all(added):
            _note_selection(session, context, checkpoints[best], selection)
    shown = metrics[best].model_dump(mode="json", exclude={"examples"})
    swept = {} if selection is None else {"sweep": selection.model_dump(mode="json")}
    return StageOutcome(readings, {**shown, **swept})


def _selection(
    context: StageContext, checkpoints: Mapping[int, CheckpointRow], measured: Mapping[int, Measured]
) -> Selection:
    work = context.work
    failed = _failures(context)
    contenders = [
        _contender(context, number, checkpoints.get(number), measured.get(number), failed.get(number))
        for number in evaluated(work.recipe)
    ]
    return select(
        contenders,
        rng=np.random.default_rng(derive_seed(work.recipe.seed, work.round, "selection")),
        samples=work.recipe.evaluate.bootstrap_samples,
        confidence=work.recipe.evaluate.confidence,
    )


def _contender(
    context: StageContext, number: int, checkpoint: CheckpointRow | None, found: Measured | None, failed: Reason | None
) -> Contender:
    sweep = context.work.recipe.sweep
    assert sweep is not None  # noqa: S101  nothing else has several candidates
    metrics = found.metrics if found else None
    reasons = _unmeasured(failed)
    if metrics is not None:
        asked = [] if metrics.promotion is None else metrics.promotion.reasons
        guards = guarded(metrics.by_cohort, metrics.tasks, cohorts=sweep.capability_cohorts, tolerance=sweep.tolerance)
        reasons = [*asked, *guards]
    standing = Standing(
        candidate=number,
        settings=sweep.settings()[number],
        checkpoint=checkpoint.id if checkpoint else None,
        win_rate=metrics.win_rate if metrics else None,
        by_cohort=metrics.by_cohort if metrics else {},
        length=metrics.length if metrics else None,
        reward=metrics.reward if metrics else None,
        divergence=metrics.divergence if metrics else None,
        reasons=reasons,
    )
    return Contender(standing, found.outcomes if found else {})


def _unmeasured(failed: Reason | None) -> list[Reason]:
    nothing = Reason(gate="evaluate", held=False, detail="no held-out comparison of it has a valid verdict")
    return [failed or nothing]


def _failures(context: StageContext) -> dict[int, Reason]:
    """Why candidates have no checkpoint."""
    work = context.work
    of_policy = select_rows(Stage.metrics).where(
        Stage.run_id == work.run_id, Stage.round == work.round, Stage.kind == StageKind.POLICY
    )
    with context.read() as session:
        trained: dict[str, dict[str, Any]] = session.scalars(of_policy).one().get(CANDIDATES, {})
    return {
        int(number): Reason(gate="policy", held=False, detail=f"{failed['code']}: {failed['detail']}")
        for number, results in trained.items()
        if (failed := results.get("failed")) is not None
    }


def _weighed(metrics: EvaluationMetrics, candidate: int, selection: Selection) -> EvaluationMetrics:
    """With all that was asked of the candidate, and whether it was selected, among the reasons."""
    standing = next(one for one in selection.candidates if one.candidate == candidate)
    is_selected = candidate == selection.selected
    reasons = [*standing.reasons, Reason(gate=SELECTED, held=is_selected, detail=selection.reason)]
    decided = Promotion(promoted=is_selected and selection.promoted, reasons=reasons)
    return metrics.model_copy(update={"promotion": decided})


def _save(
    session: Session,
    context: StageContext,
    checkpoint: CheckpointRow,
    inputs: StageInputs,
    metrics: EvaluationMetrics,
    *,
    is_selected: bool,
) -> bool:
    """Whether it was not there yet. A checkpoint that another run trained is measured, and stays as it was decided."""
    work = context.work
    row: dict[str, Any] = {
        "id": new_id(Kind.EVALUATION),
        "project_id": work.project_id,
        "run_id": work.run_id,
        "round": work.round,
        "checkpoint_id": None if work.recipe.measure else checkpoint.id,
        "measured_id": checkpoint.id if work.recipe.measure else None,
        "judge_id": inputs.evaluation_judge().id,
        "metrics": metrics.model_dump(mode="json"),
    }
    if not add_missing(session, Evaluation, [row]):
        return False
    if checkpoint.run_id == work.run_id:
        _decide(session, context, checkpoint, metrics.promotion, is_selected=is_selected)
    return True


def _decide(
    session: Session,
    context: StageContext,
    checkpoint: CheckpointRow,
    promotion: Promotion | None,
    *,
    is_selected: bool,
) -> None:
    work = context.work
    if is_selected:
        set_selected(session, work.run_id, round_=work.round, checkpoint_id=checkpoint.id)
    decides = work.recipe.rounds is None or not is_selected  # rounds decide about theirs at their end
    if decides and promotion is not None:
        set_promotion(session, checkpoint.id, promotion)
        type_ = EventType.CHECKPOINT_PROMOTED if promotion.promoted else EventType.CHECKPOINT_HELD_BACK
        reasons = [reason.model_dump() for reason in promotion.reasons]
        emit(session, work.run_id, work.project_id, type_, {"checkpoint": checkpoint.id, "reasons": reasons})


def _note_selection(session: Session, context: StageContext, checkpoint: CheckpointRow, selection: Selection) -> None:
    work = context.work
    said = {
        "round": work.round,
        "candidate": selection.selected,
        "checkpoint": checkpoint.id,
        "promoted": selection.promoted,
        "reason": selection.reason,
    }
    emit(session, work.run_id, work.project_id, EventType.SWEEP_SELECTED, said)
