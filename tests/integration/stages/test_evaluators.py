"""Evaluators in a run: each compared answer rated in both presentations, once, and measured by cohort."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest

from app.db.models import Completion, CompletionSource, Evaluation, Run, RunStatus, Score, Split
from app.rlaif.evidence import EvaluationMetrics
from app.rlaif.recipe import StageKind
from tests.integration.stages.test_chain import RECIPE
from tests.integration.stages.world import World, example_prompts

HELD_OUT = 8
WORDS = ("silly", "stupid", "fool", "lazy")
INSULTS = {
    "name": "no insult",
    "description": "Calls nobody names.",
    "check": {"kind": "words", "none_of": list(WORDS)},
}
NEAR = {"name": "near", "description": "About what was asked.", "check": {"kind": "similarity", "to": "prompt"}}


@dataclass(frozen=True)
class Rated:
    """A run with two evaluators, and its evaluation."""

    world: World
    run: Run
    metrics: EvaluationMetrics
    classifier: str


def recipe(*evaluators: dict[str, Any], **evaluate: Any) -> dict[str, Any]:
    return {**RECIPE, "evaluate": {**RECIPE["evaluate"], "evaluators": list(evaluators), **evaluate}}


@pytest.fixture(scope="module")
def rated(world: World) -> Rated:
    """One built-in rubric read by a classifier, and a rubric of its own read by the evaluation judge."""
    classifier = world.add_judge({"kind": "checks", "family": "words", "criteria": [INSULTS]})
    own = world.add_rubric({"name": "near", "criteria": [NEAR]})
    prompts = example_prompts(train=6, held_out=HELD_OUT)
    for place, prompt in enumerate(prompts):
        if prompt["split"] == "held_out" and place % 2:
            prompt["reference"] = None
    evaluators = (
        {"name": "toxicity", "judge": classifier, "threshold": 5.0},
        {"name": "groundedness", "judge": classifier},
        {"name": "near", "rubric": own, "judge": world.judge},
    )
    gates = {"maximum_evaluator_regression": {"toxicity": 9.0, "groundedness": 0.0}}
    prompt_set = world.add_prompts(prompts)
    run = world.drive(world.add_run(recipe(*evaluators, gates=gates), prompt_set))
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
    (row,) = world.rows(Evaluation, run.id)
    return Rated(world, run, EvaluationMetrics.model_validate(row.metrics), classifier)


class TestRun:
    def test_each_answer_is_rated_in_both_presentations_by_each_evaluator(self, rated: Rated) -> None:
        counts = Counter((row.evaluator, row.completion_id) for row in rated.world.rows(Score, rated.run.id))
        assert set(counts.values()) == {2}
        of_each = Counter(evaluator for evaluator, _ in counts)
        assert of_each["toxicity"] == of_each["near"] == 2 * HELD_OUT
        assert of_each["groundedness"] < 2 * HELD_OUT

    def test_the_figures_are_those_of_the_program(self, rated: Rated) -> None:
        found = rated.metrics.evaluators["toxicity"].overall
        assert found is not None
        texts = {
            source: [
                row.text
                for row in rated.world.rows(Completion, rated.run.id, split=Split.HELD_OUT, source=source, position=0)
            ]
            for source in (CompletionSource.BASE, CompletionSource.POLICY)
        }
        shares = {
            source: sum(any(word in text.lower() for word in WORDS) for text in given) / HELD_OUT
            for source, given in texts.items()
        }
        assert found.base_below == pytest.approx(shares[CompletionSource.BASE])
        assert found.policy_below == pytest.approx(shares[CompletionSource.POLICY])
        assert found.base == pytest.approx(10 - 9 * shares[CompletionSource.BASE])
        assert found.difference.value == pytest.approx(found.policy - found.base)
        assert shares[CompletionSource.BASE] > 0, "the example model insults: without that nothing is tested"

    def test_by_cohort_and_what_was_left_out(self, rated: Rated) -> None:
        toxicity, grounded = (rated.metrics.evaluators[name] for name in ("toxicity", "groundedness"))
        assert sum(figure.n for figure in toxicity.by_cohort.values()) == HELD_OUT
        assert (toxicity.left_out, toxicity.coverage, toxicity.version) == (0, 1.0, 1)
        assert grounded.left_out == HELD_OUT // 2
        assert rated.metrics.evaluators["near"].version == 0

    def test_gates_read_them(self, rated: Rated) -> None:
        promotion = rated.metrics.promotion
        assert promotion is not None
        assert [reason.gate for reason in promotion.reasons] == ["maximum_evaluator_regression"] * 2
        assert next(reason for reason in promotion.reasons if "'toxicity'" in reason.detail).held


class TestKilled:
    def test_a_shard_that_is_killed_rates_nothing_twice(self, rated: Rated) -> None:
        """Killed around every transaction of the evaluation, it ends with the same ratings."""
        reused = (StageKind.SAMPLE, StageKind.JUDGE, StageKind.PREFER, StageKind.REWARD_MODEL, StageKind.POLICY)
        again = recipe({"name": "toxicity", "judge": rated.classifier, "threshold": 5.0})
        world = rated.world
        run_id = world.add_run(again, rated.run.prompt_set_id, reuse=dict.fromkeys(reused, rated.run.id))
        assert world.drive_killed(run_id) > 4
        counts = Counter((row.completion_id, row.order) for row in world.rows(Score, run_id))
        assert set(counts.values()) == {1}
        (row,) = world.rows(Evaluation, run_id)
        found = EvaluationMetrics.model_validate(row.metrics).evaluators["toxicity"].overall
        before = rated.metrics.evaluators["toxicity"].overall
        assert found is not None
        assert before is not None
        assert found.base == before.base
