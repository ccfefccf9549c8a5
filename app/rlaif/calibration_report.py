"""The report of a calibration: a judge, a panel or a cascade, measured on people's labels and fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from app.rlaif.beliefs import kept_side
from app.rlaif.calibration_caveats import caveats
from app.rlaif.calibration_evidence import (
    CalibrationReport,
    CascadeFigures,
    JudgeFigures,
    PanelFigures,
    StepFigures,
)
from app.rlaif.calibration_figures import Against
from app.rlaif.cascade import CONFIDENCE, fit_cascade
from app.rlaif.cross_validation import prompt_folds
from app.rlaif.fitting import FittedMap, cascade_of, choose_map, out_of_fold, panel_of
from app.rlaif.instruments import EQUAL_VOTES, Cascade, Fitted, Then, stored
from app.rlaif.judge_biases import (
    first_position_preference,
    invalid_by_cohort,
    invalid_rates,
    length_bias,
    position_consistency,
    self_preference,
)
from app.rlaif.labelled import Labelled
from app.rlaif.logistic import Floats
from app.rlaif.panel import effective_votes
from app.rlaif.people import Divided, labels_of
from app.rlaif.reliability import correctness
from app.rlaif.resampling import Resampler


class TooFewLabels(ValueError):
    """Raised when there are too few labels, or too few answers, to fit anything to."""


@dataclass(frozen=True, slots=True)
class Member:
    """One judge that was asked."""

    id: str
    name: str
    family: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What is calibrated. `members` are asked: the judge itself, or those of a panel or cascade, in order.

    `maximum_risk` is a cascade's; `then` is what becomes of what none of its judges decides.
    """

    id: str
    name: str
    kind: str
    family: str
    members: tuple[Member, ...]
    maximum_risk: float | None = None
    then: Then = "people"


@dataclass(frozen=True, slots=True)
class Setting:
    """By what and on what it was measured."""

    rubric_revision_id: str
    rubric_hash: str
    prompt_set_id: str
    prompt_set_digest: str
    run_id: str
    measured_at: datetime


@dataclass(frozen=True, slots=True)
class Method:
    """Folds of the cross-validation, draws of the bootstrap, and the seed of both."""

    folds: int
    samples: int
    seed: int


@dataclass(frozen=True, slots=True)
class _Read:
    """The subject's instrument, what it says out of fold, and what is particular to its kind."""

    fitted: Fitted
    unseen: Floats
    panel: PanelFigures | None = None
    cascade: CascadeFigures | None = None


def build(
    subject: Subject, setting: Setting, labelled: Sequence[Labelled], divided: Sequence[Divided], method: Method
) -> CalibrationReport:
    """Raises TooFewLabels. The same labels and answers give the same report."""
    _require_enough(subject, labelled)
    resampler = Resampler(method.seed, method.samples)
    against = Against(labelled, resampler)
    count = min(method.folds, len(set(against.prompts)))
    folds = prompt_folds(against.prompts, count, rng=np.random.default_rng(method.seed))
    maps = {member.id: choose_map(labelled, member.id, folds=folds) for member in subject.members}
    judges = tuple(_judge(against, member, maps[member.id]) for member in subject.members)
    read = _read(subject, against, maps, folds)
    labels = labels_of(labelled, divided, resampler=resampler)
    right, longer = against.right(read.unseen), against.longer_is_right()
    report = CalibrationReport(
        judge_id=subject.id,
        judge_name=subject.name,
        judge_kind=subject.kind,
        judge_family=subject.family,
        rubric_revision_id=setting.rubric_revision_id,
        rubric_hash=setting.rubric_hash,
        prompt_set_id=setting.prompt_set_id,
        prompt_set_digest=setting.prompt_set_digest,
        run_id=setting.run_id,
        measured_at=setting.measured_at,
        folds=count,
        labels=labels,
        prefer_longer=against.mean(np.where(np.isnan(right), np.nan, longer)),
        instrument=against.agreement(read.unseen),
        gain_over_longer=against.mean(right - longer),
        position_consistency=against.mean([_kept_side(each) for each in labelled]),
        at_coverage=against.at_coverage(read.unseen),
        judges=judges,
        panel=read.panel,
        cascade=read.cascade,
        fitted=stored(read.fitted),
        caveats=(),
    )
    return report.model_copy(update={"caveats": tuple(caveats(report))})


def _require_enough(subject: Subject, labelled: Sequence[Labelled]) -> None:
    if len({each.prompt_id for each in labelled}) < 2 or all(each.outcome == 0.5 for each in labelled):
        raise TooFewLabels(
            f"{len(labelled)} comparisons carry a label that people's answers settle, and a calibration needs two "
            "prompts at least, and one comparison that is no tie: label more (200 to 500 are good)"
        )
    for member in subject.members:
        if not any(member.id in each.beliefs for each in labelled):
            raise TooFewLabels(
                f"judge {member.name!r} has not answered one of {len(labelled)} labelled comparisons in both orders: "
                "read its INVALID verdicts, mend the judge and calibrate again"
            )


def _read(subject: Subject, against: Against, maps: dict[str, FittedMap], folds: NDArray[np.int64]) -> _Read:
    ids = [member.id for member in subject.members]
    if subject.kind == "panel":
        return _read_panel(against, ids, folds)
    if subject.maximum_risk is not None:
        return _read_cascade(subject, subject.maximum_risk, against, maps, folds)
    only = maps[ids[0]]
    return _Read(only.instrument, only.unseen)


def _read_panel(against: Against, judges: Sequence[str], folds: NDArray[np.int64]) -> _Read:
    labelled, outcomes = against.labelled, against.outcomes
    fit = panel_of(judges)
    unseen = out_of_fold(fit, labelled, folds=folds)
    beliefs = np.array([[_half(each, judge) for judge in judges] for each in labelled])
    alone = {judge: correctness(beliefs[:, place], outcomes) for place, judge in enumerate(judges)}
    decided = outcomes != 0.5
    best = max(judges, key=lambda judge: float(alone[judge][decided].mean()))
    together = correctness(np.where(np.isnan(unseen), 0.5, unseen), outcomes)
    whole = fit(labelled)
    figures = PanelFigures(
        weights=dict(zip(whole.panel.judges, whole.panel.weights, strict=True)),
        effective_votes=effective_votes(beliefs[decided], outcomes[decided]),
        equal_votes_accuracy=against.mean(against.right(_equal_votes(labelled))),
        best_judge=best,
        gain_over_best=against.mean(np.where(decided, together - alone[best], np.nan)),
    )
    return _Read(whole, unseen, panel=figures)


def _read_cascade(
    subject: Subject, maximum_risk: float, against: Against, maps: dict[str, FittedMap], folds: NDArray[np.int64]
) -> _Read:
    judges = [(member.id, maps[member.id].name) for member in subject.members]
    fit = cascade_of(judges, maximum_risk=maximum_risk, then=subject.then, folds=len(np.unique(folds)))
    whole, bounds = fit_cascade(
        against.labelled,
        [maps[member.id].instrument for member in subject.members],
        [maps[member.id].unseen for member in subject.members],
        maximum_risk=maximum_risk,
        then=subject.then,
    )
    decided, undecided = _decided(whole, against.labelled)
    steps = tuple(
        StepFigures(judge_id=step.instrument.judge, threshold=step.threshold, decided=share, risk_bound=bound)
        for step, share, bound in zip(whole.steps, decided, bounds, strict=True)
    )
    figures = CascadeFigures(maximum_risk=maximum_risk, confidence=CONFIDENCE, steps=steps, undecided=undecided)
    return _Read(whole, out_of_fold(fit, against.labelled, folds=folds), cascade=figures)


def _decided(cascade: Cascade, labelled: Sequence[Labelled]) -> tuple[list[float], float]:
    """The share that each step decides, and what none does."""
    deciders = [
        next((place for place, step in enumerate(cascade.steps) if step.decides(step.instrument.probability(b))), None)
        for b in (each.beliefs for each in labelled)
    ]
    shares = [deciders.count(place) / len(labelled) for place in range(len(cascade.steps))]
    return shares, deciders.count(None) / len(labelled)


def _judge(against: Against, member: Member, fitted: FittedMap) -> JudgeFigures:
    probabilities = np.array([_belief(each, member.id) for each in against.labelled])
    return JudgeFigures(
        judge_id=member.id,
        name=member.name,
        family=member.family,
        stated=against.agreement(probabilities),
        calibrated=against.agreement(fitted.unseen),
        map=fitted.name,
        position_consistency=position_consistency(against, member.id),
        first_position_preference=first_position_preference(against, member.id),
        length_bias=length_bias(against, probabilities),
        self_preference=self_preference(against, probabilities, member.family),
        invalid=invalid_rates(against, member.id),
        invalid_by_cohort=invalid_by_cohort(against, member.id),
    )


def _kept_side(each: Labelled) -> float:
    kept = kept_side(each.beliefs)
    return np.nan if kept is None else kept


def _belief(each: Labelled, judge: str) -> float:
    belief = each.beliefs.get(judge)
    return np.nan if belief is None else belief.probability


def _half(each: Labelled, judge: str) -> float:
    """One half where there is no belief: judges are compared on all comparisons."""
    belief = each.beliefs.get(judge)
    return 0.5 if belief is None else belief.probability


def _equal_votes(labelled: Sequence[Labelled]) -> Floats:
    votes = [EQUAL_VOTES.probability(each.beliefs) for each in labelled]
    return np.array([np.nan if vote is None else vote for vote in votes])
