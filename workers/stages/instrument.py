"""Reads a judge as an instrument: coverage, position and length bias over the verdicts of one stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.db.models import CompletionSource, Purpose, Split
from app.repositories.completions import CompletionRow
from app.repositories.prompts import PromptRow
from app.repositories.run_inputs import JudgeRow, members
from app.repositories.verdicts import VerdictRow, verdicts_of
from app.rlaif.beliefs import beliefs_of
from app.rlaif.calibration import JudgedComparison, judge_metrics
from app.rlaif.evidence import JudgeMetrics
from app.rlaif.instruments import EQUAL_VOTES, Instrument
from workers.stages.compare import Compared, compared
from workers.stages.contract import StageContext, StageRefused
from workers.stages.inputs import StageInputs, all_prompts


@dataclass(frozen=True, slots=True)
class Side:
    """One completion of a comparison, without its text."""

    id: str
    source: CompletionSource
    candidate: int
    position: int
    length: int
    reward: float | None


@dataclass(frozen=True, slots=True)
class Reading:
    """One comparison and what a judge answered to it. `unit` is the prompt's own id, the same in every project.

    `probability` is P(first is better) after both orders, None where an order is missing. Two identical texts are a
    tie for certain: no judge is asked of them, and no noise of a judge decides.
    """

    prompt_id: str
    unit: str
    cohort: str
    first: Side
    second: Side
    judged: JudgedComparison
    probability: float | None


def readings_of(
    session: Session,
    run_id: str,
    *,
    round_: int,
    judge: JudgeRow,
    instrument: Instrument,
    purpose: Purpose,
    prompts: Sequence[PromptRow],
) -> list[Reading]:
    """What a judge, or those whom it asks, answered to the comparisons of some prompts, in their order.

    Those of identical texts are among them, unanswered; others that the judge was never asked are not.
    """
    items = compared(session, run_id, round_=round_, purposes=(purpose,), prompts=prompts)
    asked = [member.id for member in members(judge)]
    answered = verdicts_of(session, run_id, judge_ids=asked, comparison_ids=[item.row.id for item in items])
    return [
        _reading(item, answered.get(item.row.id, ()), instrument)
        for item in items
        if item.identical or item.row.id in answered
    ]


def all_readings(
    context: StageContext,
    inputs: StageInputs,
    *,
    run_id: str,
    judge: JudgeRow,
    purpose: Purpose,
    round_: int,
    instrument: Instrument = EQUAL_VOTES,
) -> list[Reading]:
    """A judge's answers to all comparisons of one purpose in a round of a run, by prompt."""
    split = Split.TRAIN if purpose is Purpose.TRAIN else Split.HELD_OUT
    readings: list[Reading] = []
    for prompts in all_prompts(context, inputs.run.prompt_set_id, split=split):
        with context.read() as session:
            readings += readings_of(
                session,
                run_id,
                round_=round_,
                judge=judge,
                instrument=instrument,
                purpose=purpose,
                prompts=prompts,
            )
    return readings


def _reading(item: Compared, rows: Sequence[VerdictRow], instrument: Instrument) -> Reading:
    beliefs = beliefs_of(row.answered for row in rows)
    return Reading(
        prompt_id=item.prompt.id,
        unit=item.prompt.external_id,
        cohort=item.prompt.cohort,
        first=_side(item.first),
        second=_side(item.second),
        judged=JudgedComparison(
            verdicts=tuple(row.answered for row in rows),
            invalid=tuple(row.invalid_reason for row in rows if row.invalid_reason is not None),
            first_tokens=item.first.length,
            second_tokens=item.second.length,
        ),
        probability=0.5 if item.identical else instrument.probability(beliefs),
    )


def _side(row: CompletionRow) -> Side:
    return Side(row.id, row.source, row.candidate, row.position, row.length, row.reward)


def behaviour(readings: Iterable[Reading]) -> JudgeMetrics:
    """Coverage, and the pulls of position and length."""
    return judge_metrics([reading.judged for reading in readings])


def require_coverage(metrics: JudgeMetrics, *, floor: float, judge: JudgeRow, part: str) -> None:
    """Raises StageRefused when fewer verdicts are valid than the recipe's floor."""
    if metrics.coverage >= floor:
        return
    missing = ", ".join(f"{count} {reason.value}" for reason, count in metrics.invalid.items())
    raise StageRefused(
        "coverage_below_floor",
        f"judge {judge.name!r} gave {metrics.coverage:.1%} valid verdicts of {metrics.verdicts}, below "
        f"{part}.minimum_coverage {floor:.1%}; missing: {missing}. Retry the run to have asked again what the "
        "server or a timeout left open; for the rest read the INVALID verdicts, mend or change the judge and fork the "
        f"run from its completions, or lower {part}.minimum_coverage",
    )
