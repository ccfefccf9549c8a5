"""Measures a judge on people's labels, fits how it is to be read, and stores both as the calibration's report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.models import Calibration, Canary
from app.repositories import calibrations
from app.repositories.prompts import PromptRow
from app.repositories.run_inputs import JudgeRow, members
from app.repositories.verdicts import VerdictRow, verdicts_of
from app.rlaif.calibration_evidence import CalibrationReport
from app.rlaif.calibration_report import Member, Method, Setting, Subject, TooFewLabels, build
from app.rlaif.drift import Drift, Read, measure_drift
from app.rlaif.instruments import Instrument
from app.rlaif.instruments import read as read_fitted
from app.rlaif.judges import CascadeJudge, JudgeSpec
from app.rlaif.labelled import Asked, Labelled
from app.rlaif.people import Divided
from app.rlaif.recipe import StageKind
from app.rlaif.sections import CalibrateConfig
from workers.stages.compare import Compared, compared
from workers.stages.contract import StageContext, StageOutcome, StageRefused
from workers.stages.inputs import StageInputs, all_prompts
from workers.stages.judge import PURPOSES
from workers.stages.labels import Label, label_of

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)
_SEEDS = 2**32


@dataclass(frozen=True, slots=True)
class Found:
    """A run's labelled comparisons, by a key that is the same in every run on these labels; and the divided ones."""

    labelled: Mapping[str, Labelled]
    divided: tuple[Divided, ...]


def run(context: StageContext) -> StageOutcome:
    """Raises GiveBack, StageRefused."""
    inputs = StageInputs.load(context)
    judge, config = inputs.training_judge(), _config(context)
    found = labelled_in(context, inputs, run_id=inputs.behind[StageKind.JUDGE], judge=judge)
    seed = context.work.recipe.seed % _SEEDS
    with context.read() as session:
        setting, calibration = _setting(session, context, inputs), calibrations.of_run(session, context.work.run_id)
    method = Method(config.folds, config.bootstrap_samples, seed)
    try:
        report = build(_subject(judge), setting, list(found.labelled.values()), found.divided, method)
    except TooFewLabels as error:
        raise StageRefused("too_few_labels", str(error)) from error
    drift = None if calibration.canary_id is None else _drift(context, inputs, calibration.canary_id, found, method)
    with context.transaction() as session:
        calibrations.store(
            session,
            context.work.run_id,
            report=report.model_dump(mode="json"),
            drift=None if drift is None else drift.model_dump(mode="json"),
        )
    return StageOutcome(1, _summary(report))


def labelled_in(context: StageContext, inputs: StageInputs, *, run_id: str, judge: JudgeRow) -> Found:
    """What a run's judges answered to the comparisons that people have labelled. Identical texts are left out."""
    labelled, divided = dict[str, Labelled](), list[Divided]()
    for item, label, rows in _judged(context, inputs, run_id=run_id, judge=judge):
        if label.outcome is None:
            divided.append(Divided(item.prompt.external_id, label.people))
        else:
            key = f"{item.prompt.external_id} {item.first.position} {item.second.position}"
            labelled[key] = _labelled(item, label.outcome, label, rows)
    return Found(labelled, tuple(divided))


def _judged(
    context: StageContext, inputs: StageInputs, *, run_id: str, judge: JudgeRow
) -> Iterator[tuple[Compared, Label, Sequence[VerdictRow]]]:
    asked = [member.id for member in members(judge)]
    for split, purpose in PURPOSES.items():
        for prompts in all_prompts(context, inputs.run.prompt_set_id, split=split):
            with context.read() as session:
                items = compared(session, run_id, round_=context.work.round, purposes=(purpose,), prompts=prompts)
                given = verdicts_of(session, run_id, judge_ids=asked, comparison_ids=[item.row.id for item in items])
            for item in items:
                label = label_of(item.prompt, (item.first.position, item.second.position))
                if label is not None and not item.identical:
                    yield item, label, given.get(item.row.id, ())


def _labelled(item: Compared, outcome: float, label: Label, rows: Sequence[VerdictRow]) -> Labelled:
    return Labelled(
        prompt_id=item.prompt.external_id,
        cohort=item.prompt.cohort,
        outcome=outcome,
        people=label.people,
        asked=tuple(Asked(row.answered, row.invalid_reason) for row in rows),
        lengths=(item.first.length, item.second.length),
        authors=(_author(item.prompt, item.first.position), _author(item.prompt, item.second.position)),
    )


def _author(prompt: PromptRow, position: int) -> str | None:
    return prompt.authors[position] if prompt.authors else None


def _config(context: StageContext) -> CalibrateConfig:
    config = context.work.recipe.calibrate
    if config is None:
        raise StageRefused(
            "no_calibration", "the recipe does not say how to calibrate: POST /v1/calibrations makes one"
        )
    return config


def _subject(judge: JudgeRow) -> Subject:
    spec = _SPEC.validate_python(judge.spec)
    asked = tuple(Member(member.id, member.name, member.family) for member in members(judge))
    subject = Subject(judge.id, judge.name, spec.kind, judge.family, asked)
    if not isinstance(spec, CascadeJudge):
        return subject
    return Subject(judge.id, judge.name, spec.kind, judge.family, asked, spec.maximum_risk, spec.then)


def _setting(session: Session, context: StageContext, inputs: StageInputs) -> Setting:
    rubric = inputs.run.rubric
    if rubric is None:
        raise StageRefused("no_rubric", "the run has no rubric to judge by: create the calibration again with one")
    return Setting(
        rubric_revision_id=rubric.revision_id,
        rubric_hash=rubric.content_hash,
        prompt_set_id=inputs.run.prompt_set_id,
        prompt_set_digest=inputs.run.prompt_set_digest,
        run_id=context.work.run_id,
        measured_at=session.scalars(select(func.now())).one(),
    )


def _drift(context: StageContext, inputs: StageInputs, canary_id: str, now: Found, method: Method) -> Drift:
    """How the judge stands to the canary's baseline, both read by what the baseline fitted."""
    with context.read() as session:
        baseline = session.get_one(Calibration, session.get_one(Canary, canary_id).baseline_id)
        instrument = read_fitted((baseline.report or {})["fitted"])
    before = labelled_in(context, inputs, run_id=baseline.run_id, judge=inputs.training_judge())
    return measure_drift(_read(before, instrument), _read(now, instrument), seed=method.seed, samples=method.samples)


def _read(found: Found, instrument: Instrument) -> dict[str, Read]:
    return {
        key: Read(each.prompt_id, each.outcome, instrument.probability(each.beliefs))
        for key, each in found.labelled.items()
    }


def _summary(report: CalibrationReport) -> dict[str, Any]:
    """What the stage shows of the report."""
    figures = {
        "labelled": report.labels.comparisons,
        "accuracy": report.instrument.accuracy,
        "ece": report.instrument.ece,
        "gain_over_longer": report.gain_over_longer,
    }
    return {name: getattr(figure, "value", figure) for name, figure in figures.items()}
