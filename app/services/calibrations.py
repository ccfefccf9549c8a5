"""Calibrations: a judge measured on people's labels, by a run that trains nothing."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Calibration, Judge, PromptSet, RubricRevision, RunKind, Split
from app.db.session import WriteSession
from app.errors import InvalidInput, NotFound
from app.repositories import calibrations, run_parts
from app.repositories.calibrations import CalibrationRow
from app.repositories.pages import Chunk, Slice
from app.rlaif.modes import Mode
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.sections import CalibrateConfig, JudgeConfig, SampleConfig
from app.schemas.calibration import CalibrationIn
from app.services import calibration_reports, judges, measurements, prompt_sets
from app.services.run_parts import within


class NothingLabelled(InvalidInput):
    """Raised when no prompt of the set carries a label to measure against."""


def create(session: WriteSession, project_id: str, request: CalibrationIn) -> CalibrationRow:
    """A calibration and its started run. Raises NotFound, NothingLabelled, RunRefused."""
    with within("judge"):
        judge = judges.get(session, project_id, request.judge)
    with within("prompt_set"):
        prompt_set = prompt_sets.get(session, project_id, request.prompt_set)
    rubric = run_parts.revision(session, project_id, request.rubric_revision_id)
    if rubric is None:
        with within("rubric_revision_id"):
            raise NotFound.of("rubric revision", request.rubric_revision_id)
    calibration = start(
        session,
        project_id,
        name=request.name,
        judge=judge,
        rubric=rubric,
        prompt_set=prompt_set,
        recipe=_recipe(request),
    )
    return calibration_reports.get(session, project_id, calibration.id)


def start(
    session: WriteSession,
    project_id: str,
    *,
    name: str,
    judge: Judge,
    rubric: RubricRevision,
    prompt_set: PromptSet,
    recipe: Recipe,
    canary: tuple[str, datetime] | None = None,
) -> Calibration:
    """The calibration and its started run; `canary` is whose measurement it is, and when that was due.

    Raises NothingLabelled, RunRefused.
    """
    split = None if recipe.calibrate is None or recipe.calibrate.split == "all" else Split(recipe.calibrate.split)
    if not run_parts.has_labels(session, prompt_set.id, split=split):
        raise NothingLabelled(
            f"no prompt of {prompt_set.id!r}, split {split or 'all'}, has a label: add `annotations` or "
            "`preferences` between its candidates, or export an annotation queue to a prompt set",
            field="prompt_set",
        )
    run = measurements.create(
        session,
        project_id,
        kind=RunKind.CALIBRATION,
        name=name,
        recipe=recipe,
        rubric=rubric,
        prompt_set=prompt_set,
        judge=judge,
    )
    canary_id, due_at = canary or (None, None)
    calibration = Calibration(
        id=new_id(Kind.CALIBRATION),
        project_id=project_id,
        name=name,
        run_id=run.id,
        judge_id=judge.id,
        rubric_revision_id=rubric.id,
        prompt_set_id=prompt_set.id,
        canary_id=canary_id,
        due_at=due_at,
    )
    session.add(calibration)
    session.flush()
    return calibration


def page(session: Session, project_id: str, slice_: Slice, *, judge_id: str | None) -> Chunk[Calibration]:
    return calibrations.page(session, project_id, slice_, judge_id=judge_id)


def _recipe(request: CalibrationIn) -> Recipe:
    """No coverage is demanded: what a judge does not answer is part of what is measured."""
    return Recipe(
        seed=request.seed,
        stop_after=StageKind.CALIBRATE,
        sample=SampleConfig(source="prompt_set"),
        judge=JudgeConfig(
            mode=request.mode,
            pairs="all" if request.mode is Mode.LISTWISE else "labelled",
            repeats=request.repeats,
            principle=request.principle,
            minimum_coverage=0.0,
        ),
        calibrate=CalibrateConfig(split=request.split, limit=request.limit, folds=request.folds),
        budget=request.budget,
    )
