"""A sweep on the example model: each candidate is a run of its own settings, and one of them is selected."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import Any

import pytest

from app.db.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    Completion,
    CompletionSource,
    Evaluation,
    Event,
    Purpose,
    Run,
    RunStatus,
    Verdict,
)
from app.rlaif.evidence import EvaluationMetrics
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.selection import GUARD, SELECTED, Selection
from app.rlaif.sweep import candidates
from tests.integration.stages.test_chain import HELD_OUT, RECIPE, TRAIN, Finished
from tests.integration.stages.world import World, example_prompts

BROKEN = {"learning_rate": 1.0, "epochs": 4, "max_grad_norm": 1000.0, "beta": 100.0, "sft_weight": 100.0}
"""Settings that leave nothing of the model: it says a few words over and over."""
VARIED = {
    "name": "varied",
    "description": "The answer does not say the same few words over and over.",
    "check": {"kind": "repetition", "ngram": 1, "maximum": 0.4},
}
SHORT = {
    "name": "short",
    "description": "Few words.",
    "weight": 0.1,
    "check": {"kind": "length", "unit": "words", "minimum": 1, "maximum": 12},
}
KIND = {
    "kind": "checks",
    "family": "kind-checks",
    "criteria": [
        {
            "name": "no_insult",
            "description": "The answer does not scold or send the person away.",
            "check": {
                "kind": "words",
                "none_of": ["ugh", "duh", "silly", "wasting", "look it up", "leave me alone", "bother", "even a child"],
            },
        }
    ],
}
"""A judge to whom a policy that has learned the rubric's politeness wins."""
SANE, SLOW = {"learning_rate": 1e-4}, {"learning_rate": 1e-6}
SWEEP: dict[str, Any] = RECIPE | {"sweep": {"candidates": [BROKEN, SLOW, SANE]}}
BEFORE_POLICY = (StageKind.SAMPLE, StageKind.JUDGE, StageKind.PREFER, StageKind.REWARD_MODEL)


def policies(finished: Finished) -> list[Checkpoint]:
    rows = finished.rows(Checkpoint, kind=CheckpointKind.POLICY)
    return sorted(rows, key=lambda row: row.candidate)


@pytest.fixture(scope="module")
def prompts(world: World) -> str:
    """Prompts, and in their world an evaluation judge to whom broken text surely loses."""
    judge = {"kind": "checks", "family": "form-checks", "criteria": [VARIED, SHORT]}
    world.evaluation_judge = world.add_judge(judge)
    return world.add_prompts(example_prompts(train=TRAIN, held_out=HELD_OUT))


@pytest.fixture(scope="module")
def finished(world: World, prompts: str) -> Finished:
    known = world.settings.artifacts_dir / "references"
    shutil.rmtree(known, ignore_errors=True)  # whichever test came first: nothing is known of these pairs
    return Finished(world, world.drive(world.add_run(SWEEP, prompts)))


@pytest.fixture(scope="module")
def selection(finished: Finished) -> Selection:
    return Selection.model_validate(finished.metrics(StageKind.EVALUATE)["sweep"])


class TestSweep:
    def test_it_succeeds(self, finished: Finished) -> None:
        assert (finished.run.status, finished.run.error) == (RunStatus.SUCCEEDED, None)

    def test_the_candidate_whose_text_is_broken_loses(self, finished: Finished, selection: Selection) -> None:
        rates = [standing.win_rate.value for standing in selection.candidates if standing.win_rate]
        best = 1 + int(rates[2] > rates[1])
        assert rates[0] < 0.3 < min(rates[1:])
        assert (selection.selected, selection.runner_up, selection.promoted) == (best, 3 - best, True)
        assert [row.selected for row in policies(finished)] == [row.candidate == best for row in policies(finished)]
        assert [row.promoted for row in policies(finished)] == [row.candidate == best for row in policies(finished)]

    def test_a_regressed_capability_cohort_excludes(self, selection: Selection) -> None:
        broken, *others = selection.candidates
        assert [reason.gate for reason in broken.reasons if not reason.held] == [GUARD]
        assert all(standing.holds for standing in others)

    def test_the_reason_says_by_how_much_and_how_surely(self, finished: Finished, selection: Selection) -> None:
        lead, reason = selection.difference, selection.reason
        assert lead is not None
        assert lead.low <= 0  # 20 prompts do not tell two learning rates apart
        assert reason.startswith(f"Candidate {selection.selected} has the highest win rate")
        assert f"It leads candidate {selection.runner_up}, the next best, by {lead.value:+.3f}" in reason
        assert "winner's curse" in reason
        assert "Candidate 0, with win rate" in reason

    def test_events_say_what_was_selected_and_promoted(self, finished: Finished, selection: Selection) -> None:
        (told,) = finished.events("sweep.selected")
        best = policies(finished)[selection.selected]
        assert told == {
            "round": 0,
            "candidate": selection.selected,
            "checkpoint": best.id,
            "promoted": True,
            "reason": selection.reason,
        }
        assert finished.events("checkpoint.promoted") == [{"checkpoint": best.id, "reasons": best.promotion_reasons}]
        assert len(finished.events("checkpoint.held_back")) == 2

    def test_a_candidate_that_was_not_selected_is_told_who_was(self, finished: Finished, selection: Selection) -> None:
        broken = policies(finished)[0]
        why = [reason for reason in broken.promotion_reasons or () if reason["gate"] == SELECTED]
        assert why == [{"gate": SELECTED, "held": False, "detail": selection.reason}]

    def test_every_candidate_answers_the_same_prompts_with_the_same_seeds(self, finished: Finished) -> None:
        drawn = finished.rows(Completion, source=CompletionSource.POLICY)
        seeds = {
            number: {(row.prompt_id, row.position, row.seed) for row in drawn if row.candidate == number}
            for number in range(3)
        }
        assert len(drawn) == 3 * HELD_OUT
        assert seeds[0] == seeds[1] == seeds[2]

    def test_base_completions_and_what_they_make_of_each_other_are_shared(self, finished: Finished) -> None:
        sources = {row.id: row.source for row in finished.rows(Completion)}
        compared = finished.rows(Comparison, purpose=Purpose.EVALUATION)
        controls = [row for row in compared if {sources[row.first_id], sources[row.second_id]} == {"base"}]
        assert max(Counter(row.prompt_id for row in controls).values()) == 1
        judged = Counter(row.comparison_id for row in finished.rows(Verdict))
        assert {judged[row.id] for row in controls} == {2}

    def test_each_is_evaluated_and_the_selected_one_last(self, finished: Finished, selection: Selection) -> None:
        evaluations = finished.rows(Evaluation)
        assert {row.checkpoint_id for row in evaluations} == {row.id for row in policies(finished)}
        assert evaluations[-1].checkpoint_id == policies(finished)[selection.selected].id
        measured = [EvaluationMetrics.model_validate(row.metrics) for row in evaluations]
        assert measured[0].control == measured[1].control == measured[2].control
        assert [found.promotion and found.promotion.promoted for found in measured] == [False, False, True]

    def test_points_and_results_are_kept_by_candidate(self, finished: Finished) -> None:
        stage = finished.world.stage(finished.run.id, StageKind.POLICY)
        assert set(stage.metrics) == {"candidates"}
        assert {number: found["train_pairs"] for number, found in stage.metrics["candidates"].items()} == {
            str(row.candidate): row.metrics["train_pairs"] for row in policies(finished)
        }

    def test_a_candidate_is_what_a_run_of_its_settings_would_train(self, finished: Finished) -> None:
        own = candidates(Recipe.model_validate(SWEEP))[2].model_dump(mode="json")
        alone = finished.world.drive(finished.fork({**own, "stop_after": "policy"}, reuse=BEFORE_POLICY))
        (checkpoint,) = finished.world.rows(Checkpoint, alone.id)
        swept = policies(finished)[2]
        assert checkpoint.lineage["recipe_hash"] == swept.lineage["recipe_hash"]
        weights = [
            next(file["sha256"] for file in row.manifest["files"] if file["name"] == "model.safetensors")
            for row in (checkpoint, swept)
        ]
        assert weights[0] == weights[1]

    def test_reference_log_probs_are_computed_once(self, finished: Finished) -> None:
        first, *others = (row.metrics for row in policies(finished))
        assert first["reference_cached_pairs"] < first["train_pairs"]
        assert all(found["reference_cached_pairs"] == found["train_pairs"] for found in others)


class TestOneCandidateAgain:
    def test_a_fork_measures_the_candidate_that_it_names(self, finished: Finished) -> None:
        reuse = [kind for kind in StageKind if kind in Recipe.model_validate(SWEEP).stages()][:-1]
        recipe = SWEEP | {"evaluate": {**SWEEP["evaluate"], "candidate": 0}}
        again = finished.world.drive(finished.fork(recipe, reuse=reuse))
        (evaluation,) = finished.world.rows(Evaluation, again.id)
        broken = policies(finished)[0]
        (known,) = finished.rows(Evaluation, checkpoint_id=broken.id)
        assert evaluation.checkpoint_id == broken.id
        before, after = (EvaluationMetrics.model_validate(row.metrics) for row in (known, evaluation))
        assert (after.win_rate, after.control) == (before.win_rate, before.control)
        assert (broken.selected, broken.promoted) == (False, False)
        assert finished.world.rows(Event, again.id, type="sweep.selected") == []


class TestKilledAnywhere:
    def test_the_outcome_is_the_same(self, world: World, finished: Finished) -> None:
        killed = finished.fork(SWEEP, reuse=BEFORE_POLICY)
        assert world.drive_killed(killed) > 12
        run = Finished(world, world.get(Run, killed))
        assert run.run.status is RunStatus.SUCCEEDED
        assert [row.metrics["loss"] for row in policies(run)] == [row.metrics["loss"] for row in policies(finished)]
        assert [row.promoted for row in policies(run)] == [row.promoted for row in policies(finished)]
        assert len(run.events("sweep.selected")) == 1
        assert len(run.rows(Evaluation)) == 3
        assert len(run.rows(Completion, source=CompletionSource.POLICY)) == 3 * HELD_OUT


class TestFailedCandidate:
    def test_the_others_go_on_without_it(self, world: World, finished: Finished) -> None:
        unhealthy = BROKEN | {"health": {"on_alarm": "stop", "window": 2}}
        recipe = SWEEP | {"sweep": {"candidates": [unhealthy, SANE]}}
        run = Finished(world, world.drive(finished.fork(recipe, reuse=BEFORE_POLICY)))
        assert run.run.status is RunStatus.SUCCEEDED
        assert run.metrics(StageKind.POLICY)["candidates"]["0"]["failed"]["code"] == "health_alarm"
        selection = Selection.model_validate(run.metrics(StageKind.EVALUATE)["sweep"])
        assert (selection.selected, selection.promoted) == (1, True)
        assert "Candidate 0 was not measured (policy: health_alarm: " in selection.reason
        assert [row.candidate for row in policies(run)] == [1]

    def test_with_none_left_the_run_fails(self, world: World, finished: Finished) -> None:
        unhealthy = BROKEN | {"health": {"on_alarm": "stop", "window": 2}}
        recipe = SWEEP | {"sweep": {"candidates": [unhealthy, unhealthy | {"learning_rate": 0.9}]}}
        run = world.drive(finished.fork(recipe, reuse=BEFORE_POLICY))
        assert (run.status, run.error and run.error["code"]) == (RunStatus.FAILED, "no_policy")


class TestNoneHolds:
    def test_the_best_is_selected_and_none_promoted(self, world: World, finished: Finished) -> None:
        gates = {"minimum_win_rate": 1.0}
        recipe = SWEEP | {"evaluate": {**SWEEP["evaluate"], "gates": gates}, "sweep": {"candidates": [SLOW, SANE]}}
        run = Finished(world, world.drive(finished.fork(recipe, reuse=BEFORE_POLICY)))
        selection = Selection.model_validate(run.metrics(StageKind.EVALUATE)["sweep"])
        assert not selection.promoted
        assert selection.reason.startswith("No candidate holds every gate, so none is promoted")
        assert [row.selected for row in policies(run)].count(True) == 1
        assert [row.promoted for row in policies(run)] == [False, False]


class TestRounds:
    def test_each_round_goes_on_from_the_candidate_that_was_selected(self, world: World, prompts: str) -> None:
        world.evaluation_judge, before = world.add_judge(KIND), world.evaluation_judge
        taught = SANE | {"epochs": 6}
        sweep = {"sweep": {"candidates": [SLOW, taught]}, "rounds": {"count": 2}}
        run = Finished(world, world.drive(world.add_run(SWEEP | sweep, prompts)))
        world.evaluation_judge = before
        assert (run.run.status, run.run.error) == (RunStatus.SUCCEEDED, None)
        by_round = {round_: run.rows(Checkpoint, kind=CheckpointKind.POLICY, round=round_) for round_ in (0, 1)}
        assert [len(rows) for rows in by_round.values()] == [2, 2]
        (selected,) = [row for row in by_round[0] if row.selected]
        starts = {row.lineage["start_model"] for row in by_round[1]}
        assert starts == {world.model_of(selected.id).id}
        assert [told["round"] for told in run.events("sweep.selected")] == [0, 1]
        promoted = [row for rows in by_round.values() for row in rows if row.promoted]
        assert len(promoted) == 1
        assert promoted[0].selected
        assert all(row.promoted is False for rows in by_round.values() for row in rows if not row.selected)
