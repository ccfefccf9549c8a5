"""Gates on an evaluation: each holds or fails by what was measured, and what was not measured never holds."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.rlaif.evaluator import EvaluatorFigure, EvaluatorResult
from app.rlaif.evidence import LengthControlled, WinRate
from app.rlaif.measured import Measured
from app.rlaif.promotion import PromotionGates, promotion
from app.rlaif.recipe import Recipe
from app.rlaif.task_evidence import TaskFigure, TaskResult


def rate(low: float, high: float, *, equal: float | None = None) -> WinRate:
    controlled = None if equal is None else LengthControlled(value=equal, low=equal - 0.05, high=equal + 0.05)
    return WinRate(
        value=(low + high) / 2,
        low=low,
        high=high,
        confidence=0.95,
        n_prompts=60,
        wins=30,
        ties=0,
        losses=30,
        length_controlled=controlled,
        p_value=None,
        holm_p_value=None,
    )


OVERALL = rate(0.55, 0.7, equal=0.58)
COHORTS = {"helpfulness": rate(0.6, 0.8), "capability": rate(0.3, 0.46)}


def task(low: float, high: float, *, higher_is_better: bool = True) -> TaskResult:
    figure = TaskFigure(
        figure="acc",
        higher_is_better=higher_is_better,
        base=0.5,
        policy=0.5 + (low + high) / 2,
        difference=Measured(value=(low + high) / 2, low=low, high=high, n=40),
        gained=None,
        lost=None,
        p_value=None,
    )
    return TaskResult(task_id="task_1", digest="0", documents=40, base_digest="1", policy_digest="2", figures=[figure])


def evaluator(low: float, high: float) -> EvaluatorResult:
    figure = EvaluatorFigure(
        base=8.0,
        policy=8.0 + (low + high) / 2,
        difference=Measured(value=(low + high) / 2, low=low, high=high, n=40),
        base_below=0.1,
        policy_below=0.2,
        n=40,
    )
    return EvaluatorResult(
        version=1,
        rubric_hash="0",
        judge_id="judge_1",
        threshold=5.5,
        overall=figure,
        by_cohort={},
        coverage=1.0,
        left_out=0,
    )


EVALUATORS = {
    "toxicity": evaluator(-0.6, -0.15),
    "groundedness": evaluator(0.0, 0.1).model_copy(update={"overall": None}),
}
TASKS = {"facts": task(-0.2, -0.05), "definitions": task(0.1, 0.3, higher_is_better=False)}


def decided(**gates: Any) -> tuple[bool, list[bool]]:
    found = promotion(PromotionGates(**gates), OVERALL, COHORTS, TASKS, EVALUATORS)
    return found.promoted, [reason.held for reason in found.reasons]


class TestPromotion:
    def test_nothing_asked_is_promoted(self) -> None:
        assert decided() == (True, [])

    @pytest.mark.parametrize(
        ("gates", "held"),
        [
            ({"minimum_win_rate": 0.55}, True),
            ({"minimum_win_rate": 0.56}, False),
            ({"minimum_length_controlled_win_rate": 0.52}, True),
            ({"minimum_length_controlled_win_rate": 0.54}, False),
            ({"maximum_cohort_regression": {"helpfulness": 0.0}}, True),
            ({"maximum_cohort_regression": {"capability": 0.05}}, True),
            ({"maximum_cohort_regression": {"capability": 0.03}}, False),
            ({"maximum_cohort_regression": {"honesty": 0.5}}, False),
            ({"maximum_task_regression": {"facts": 0.05}}, True),
            ({"maximum_task_regression": {"facts": 0.04}}, False),
            ({"maximum_task_regression": {"definitions": 0.1}}, True),
            ({"maximum_task_regression": {"definitions": 0.09}}, False),
            ({"maximum_task_regression": {"unmeasured": 1.0}}, False),
            ({"maximum_evaluator_regression": {"toxicity": 0.2}}, True),
            ({"maximum_evaluator_regression": {"toxicity": 0.1}}, False),
            ({"maximum_evaluator_regression": {"groundedness": 9.0}}, False),
        ],
    )
    def test_a_gate_holds_by_its_interval(self, gates: dict[str, Any], held: bool) -> None:
        assert decided(**gates) == (held, [held])

    def test_one_that_fails_holds_the_policy_back(self) -> None:
        regression = {"helpfulness": 0.0, "capability": 0.0}
        assert decided(minimum_win_rate=0.5, maximum_cohort_regression=regression) == (False, [True, True, False])

    def test_what_could_not_be_measured_does_not_hold(self) -> None:
        found = promotion(PromotionGates(minimum_length_controlled_win_rate=0.0), rate(0.9, 1.0), {}, {}, {})
        assert not found.promoted
        assert "could not be measured" in found.reasons[0].detail

    def test_the_reason_names_what_was_asked_and_what_was_found(self) -> None:
        gates = PromotionGates(maximum_cohort_regression={"capability": 0.02})
        (reason,) = promotion(gates, OVERALL, COHORTS, {}, {}).reasons
        assert (reason.gate, reason.held) == ("maximum_cohort_regression", False)
        for part in ("'capability'", "0.480", "0.300 to 0.460"):
            assert part in reason.detail


class TestGates:
    @pytest.mark.parametrize(
        "gates",
        [
            {"minimum_win_rate": 1.1},
            {"minimum_winrate": 0.5},
            {"maximum_cohort_regression": {"capability": 0.6}},
            {"maximum_cohort_regression": {"": 0.1}},
        ],
    )
    def test_nonsense_is_refused(self, gates: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            PromotionGates.model_validate(gates)

    def test_what_is_asked_of_a_policy_does_not_change_what_it_is(self) -> None:
        asking = Recipe.model_validate({"evaluate": {"gates": {"minimum_win_rate": 0.6}}})
        assert asking.content_hash() == Recipe().content_hash()
