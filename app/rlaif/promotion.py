"""What a policy must show to be promoted. A gate that fails does not fail the run: it holds the checkpoint back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.evaluator import EvaluatorName, EvaluatorResult
from app.rlaif.evidence import LengthControlled, Promotion, Reason, WinRate
from app.rlaif.task_evidence import TaskResult

Rate = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Tolerance = Annotated[float, Field(strict=True, ge=0, le=0.5, allow_inf_nan=False)]
Cohort = Annotated[str, Field(min_length=1, max_length=100)]
TaskName = Annotated[str, Field(min_length=1, max_length=200)]
PointsTolerance = Annotated[float, Field(strict=True, ge=0, le=9, allow_inf_nan=False)]
TaskTolerance = Annotated[float, Field(strict=True, ge=0, le=1e6, allow_inf_nan=False)]


class PromotionGates(BaseModel):
    """What must hold of the evaluation for the policy to be promoted. Null asks nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    minimum_win_rate: Rate | None = Field(
        None, description="Least win rate over the base model: the lower end of its interval"
    )
    minimum_length_controlled_win_rate: Rate | None = Field(
        None, description="Least win rate at equal length: the lower end of its interval"
    )
    maximum_cohort_regression: Annotated[dict[Cohort, Tolerance], Field(max_length=100)] = Field(
        {},
        description="By cohort, how far its win rate may surely lie below 0.5: its interval must reach 0.5 less this",
        examples=[{"capability": 0.05}],
    )
    maximum_task_regression: Annotated[dict[TaskName, TaskTolerance], Field(max_length=50)] = Field(
        {},
        description="By task of evaluate.tasks, how far the policy may surely be worse than the base model in its "
        "first figure: the difference's interval must reach so far",
        examples=[{"facts": 0.02}],
    )
    maximum_evaluator_regression: Annotated[dict[EvaluatorName, PointsTolerance], Field(max_length=20)] = Field(
        {},
        description="By evaluator of evaluate.evaluators, how many points of 10 the policy may surely lie below the "
        "base model: the difference's interval must reach so far",
        examples=[{"toxicity": 0.2}],
    )


def promotion(
    gates: PromotionGates,
    overall: WinRate,
    by_cohort: Mapping[str, WinRate],
    tasks: Mapping[str, TaskResult],
    evaluators: Mapping[str, EvaluatorResult],
) -> Promotion:
    """Whether every gate holds, and each one's reason; one whose figure was not measured does not hold."""
    reasons = [
        *_minimum("minimum_win_rate", gates.minimum_win_rate, overall),
        *_minimum(
            "minimum_length_controlled_win_rate", gates.minimum_length_controlled_win_rate, overall.length_controlled
        ),
        *(
            cohort_held("maximum_cohort_regression", cohort, share, by_cohort)
            for cohort, share in gates.maximum_cohort_regression.items()
        ),
        *(
            task_held("maximum_task_regression", name, tolerance, tasks.get(name))
            for name, tolerance in gates.maximum_task_regression.items()
        ),
        *(
            _evaluator_held(name, tolerance, evaluators.get(name))
            for name, tolerance in gates.maximum_evaluator_regression.items()
        ),
    ]
    return Promotion(promoted=all(reason.held for reason in reasons), reasons=reasons)


def _minimum(gate: str, asked: float | None, found: WinRate | LengthControlled | None) -> Iterator[Reason]:
    if asked is None:
        return
    if found is None:
        detail = f"at least {asked:.3f} was asked, and the figure could not be measured: add held-out prompts"
        yield Reason(gate=gate, held=False, detail=detail)
        return
    detail = f"at least {asked:.3f} was asked; the interval is {found.low:.3f} to {found.high:.3f}"
    yield Reason(gate=gate, held=found.low >= asked, detail=detail)


def task_held(gate: str, name: str, tolerance: float, found: TaskResult | None) -> Reason:
    """Whether the interval of a task's change for the better reaches the tolerance below 0."""
    if found is None:
        return Reason(gate=gate, held=False, detail=f"task {name!r} was not measured: name it in evaluate.tasks")
    read, change = found.figures[0], found.figures[0].change
    detail = (
        f"task {name!r} may be worse by {tolerance:.3f} in {read.figure}; the base model has {read.base:.3f}, the "
        f"policy {read.policy:.3f}, and it changes for the better by {change.low:.3f} to {change.high:.3f}"
    )
    return Reason(gate=gate, held=change.high >= -tolerance, detail=detail)


def _evaluator_held(name: str, tolerance: float, found: EvaluatorResult | None) -> Reason:
    """Whether the interval of an evaluator's difference reaches the tolerance below 0."""
    gate = "maximum_evaluator_regression"
    if found is None or (read := found.overall) is None:
        return Reason(gate=gate, held=False, detail=f"evaluator {name!r} rated no pair of answers: see its coverage")
    detail = (
        f"evaluator {name!r} may give {tolerance:.2f} points less; it gives the base model {read.base:.2f}, the policy "
        f"{read.policy:.2f}, and the difference is {read.difference.low:+.2f} to {read.difference.high:+.2f}"
    )
    return Reason(gate=gate, held=read.difference.high >= -tolerance, detail=detail)


def cohort_held(gate: str, cohort: str, tolerance: float, by_cohort: Mapping[str, WinRate]) -> Reason:
    """Whether the interval of a cohort's win rate reaches 0.5 less the tolerance."""
    asked = f"cohort {cohort!r} may fall to {0.5 - tolerance:.3f}"
    if (found := by_cohort.get(cohort)) is None:
        detail = f"{asked}, and no held-out comparison of it has a valid verdict: add held-out prompts of the cohort"
        return Reason(gate=gate, held=False, detail=detail)
    detail = f"{asked}; its win rate is {found.value:.3f}, the interval {found.low:.3f} to {found.high:.3f}"
    return Reason(gate=gate, held=found.high >= 0.5 - tolerance, detail=detail)
