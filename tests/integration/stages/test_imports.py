"""Runs that start from what the client brings: candidates, and preferences among them."""

from __future__ import annotations

from typing import Any

from app.db.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    Completion,
    CompletionSource,
    Evaluation,
    Event,
    Preference,
    Purpose,
    Run,
    RunStatus,
    Split,
    Verdict,
)
from app.rlaif.evidence import EvaluationMetrics, PreferenceMetrics
from app.rlaif.recipe import StageKind
from tests.integration.stages.world import World, example_prompts

RECIPE: dict[str, Any] = {
    "stop_after": "prefer",
    "sample": {"source": "prompt_set", "max_new_tokens": 16, "held_out_completions": 1, "batch_size": 8},
    "prefer": {"source": "prompt_set", "max_length": 128},
    "reward_model": {"learning_rate": 5e-4, "epochs": 1, "batch_size": 4, "max_length": 128},
    "policy": {"learning_rate": 1e-4, "epochs": 1, "batch_size": 4, "max_length": 128},
    "evaluate": {"bootstrap_samples": 100},
}
CANDIDATES = ["Thank you for asking. Kites fly.", "Kites fly, you know, and so on.", "Thank you for asking. Kites fly."]


def bringing(*preferences: tuple[int, int, float], candidates: list[str] | None = None) -> list[dict[str, Any]]:
    """Four train and two held-out prompts that all bring the same."""
    stated = [{"first": first, "second": second, "probability": p} for first, second, p in preferences]
    brought = {"candidates": candidates or CANDIDATES, "preferences": stated}
    return [prompt | brought for prompt in example_prompts(train=4, held_out=2)]


def imported(world: World, prompts: list[dict[str, Any]], **recipe: Any) -> Run:
    return world.drive(world.add_run(RECIPE | recipe, world.add_prompts(prompts)))


def preferred(world: World, run: Run) -> PreferenceMetrics:
    figures = world.stage(run.id, StageKind.PREFER).metrics
    return PreferenceMetrics.model_validate({name: figures[name] for name in PreferenceMetrics.model_fields})


class TestImportedPreferences:
    def test_each_becomes_a_preference_without_a_verdict(self, world: World) -> None:
        run = imported(world, bringing((0, 1, 0.9), (1, 2, 0.5)))
        assert run.status is RunStatus.SUCCEEDED
        believed = world.preferences(run.id)
        assert {places: row[1:] for (_, *at), row in believed.items() for places in [tuple(at)]} == {
            (0, 1): (0.9, 1.0, None),
            (1, 2): (0.5, 0.1, None),
        }
        assert len(believed) == 12
        assert {row.provenance["imported"] for row in world.rows(Preference, run.id)} == {True}
        assert {row.source for row in world.rows(Completion, run.id)} == {CompletionSource.IMPORTED}
        assert {row.purpose for row in world.rows(Comparison, run.id)} == {Purpose.TRAIN, Purpose.HELD_OUT}
        assert world.rows(Verdict, run.id) == []

    def test_identical_candidates_are_dropped_and_counted(self, world: World) -> None:
        run = imported(world, bringing((0, 1, 0.9), (0, 2, 0.9)))
        metrics = preferred(world, run)
        assert (metrics.kept, metrics.dropped) == (6, {"identical": 6})
        assert (metrics.comparisons_train, metrics.kept_train) == (8, 4)

    def test_candidates_that_are_the_same_once_cut_are_dropped_and_counted(self, world: World) -> None:
        start = " ".join(["kites fly high"] * 20)
        candidates = [f"{start}. Thank you.", f"{start}. Ugh.", "Ugh."]
        prefer = RECIPE["prefer"] | {"max_length": 48}
        run = imported(world, bringing((0, 1, 0.9), (0, 2, 0.9), candidates=candidates), prefer=prefer)
        metrics = preferred(world, run)
        assert (metrics.kept, metrics.dropped) == (6, {"identical_after_truncation": 6})

    def test_ties_alone_fail_the_run(self, world: World) -> None:
        run = imported(world, bringing((0, 1, 0.5)))
        assert run.error is not None
        assert (run.status, run.error["code"]) == (RunStatus.FAILED, "all_ties")

    def test_nothing_to_train_on_fails_the_run(self, world: World) -> None:
        run = imported(world, bringing((0, 2, 0.9)))
        assert run.error is not None
        assert (run.status, run.error["code"]) == (RunStatus.FAILED, "no_preferences")
        assert "none of 4 train comparisons" in run.error["detail"]
        assert "none of 4 train comparisons" in run.error["detail"]
        assert "{'identical': 4}): sample more" in run.error["detail"]

    def test_a_max_length_that_leaves_no_difference_is_named(self, world: World) -> None:
        start = " ".join(["kites fly high"] * 20)
        prefer = RECIPE["prefer"] | {"max_length": 48}
        candidates = [f"{start}. Thank you.", f"{start}. Ugh."]
        run = imported(world, bringing((0, 1, 0.9), candidates=candidates), prefer=prefer)
        assert run.error is not None
        assert run.error["code"] == "no_preferences"
        assert "{'identical_after_truncation': 4}): raise prefer.max_length 48" in run.error["detail"]

    def test_a_whole_run_needs_no_training_judge(self, world: World) -> None:
        run = imported(world, bringing((0, 1, 0.9)), stop_after="evaluate")
        assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
        sampled = world.rows(Completion, run.id, source=CompletionSource.BASE)
        assert ({row.split for row in sampled}, len(sampled)) == ({Split.HELD_OUT}, 2)
        (evaluation,) = world.rows(Evaluation, run.id)
        metrics = EvaluationMetrics.model_validate(evaluation.metrics)
        assert (metrics.disagreement_with_training_judge, metrics.control) == (None, None)
        (policy,) = world.rows(Checkpoint, run.id, kind=CheckpointKind.POLICY)
        assert policy.lineage["judges"] == []
        assert (policy.promoted, policy.promotion_reasons) == (True, [])
        (promoted,) = world.rows(Event, run.id, type="checkpoint.promoted")
        assert promoted.data == {"checkpoint": policy.id, "reasons": []}


class TestEvaluation:
    def test_identical_texts_are_ties_and_no_judge_is_asked(self, world: World) -> None:
        """A policy that learned nothing, sampled almost greedily, says what the base model says."""
        sample = RECIPE["sample"] | {"temperature": 0.001, "held_out_completions": 2}
        policy = RECIPE["policy"] | {"learning_rate": 1e-12}
        run = imported(world, bringing((0, 1, 0.9)), stop_after="evaluate", sample=sample, policy=policy)
        assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
        (evaluation,) = world.rows(Evaluation, run.id)
        metrics = EvaluationMetrics.model_validate(evaluation.metrics)
        assert (metrics.win_rate.value, metrics.win_rate.ties) == (0.5, 2)
        assert (metrics.judge.verdicts, metrics.judge.coverage) == (0, 1.0)
        assert world.rows(Verdict, run.id) == []


class TestImportedCandidates:
    def test_they_are_judged_like_sampled_ones(self, world: World) -> None:
        run = imported(world, bringing(candidates=CANDIDATES[:2]), prefer={"source": "verdicts", "max_length": 128})
        assert run.status is RunStatus.SUCCEEDED
        assert len(world.rows(Verdict, run.id)) == 6 * 2
        believed = world.preferences(run.id)
        assert {(first == 0) is (row[1] > 0.5) for (_, first, _), row in believed.items()} == {True}
        assert {first for _, first, _ in believed} == {0, 1}
