"""Several rounds on the example model, with real training: each from the last policy, each against the base model."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

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
    Split,
    Stage,
    StageStatus,
    Verdict,
)
from app.db.session import WriteSession
from app.rlaif.evidence import EvaluationMetrics
from app.rlaif.prices import PriceTable
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.sections import EvaluateConfig
from app.schemas.evaluation import EvaluationIn
from app.services import evaluations, reports, runs
from tests.integration.stages.test_chain import RECIPE
from tests.integration.stages.world import World, example_prompts

TRAIN, HELD_OUT = 24, 20
SHORT = RECIPE | {
    "sample": {**RECIPE["sample"], "max_new_tokens": 32},
    "policy": {**RECIPE["policy"], "learning_rate": 5e-4, "epochs": 2},
}


FAR = {"policy": {**SHORT["policy"], "learning_rate": 1e-3, "epochs": 4}}
"""Surely some way from the base model after one round."""


def recipe(**rounds: Any) -> dict[str, Any]:
    """Two rounds that go on unless told otherwise: the judge that measures prefers what was trained on."""
    return SHORT | {"rounds": {"count": 2, **rounds}}


@pytest.fixture(scope="module")
def prompts(world: World) -> str:
    return world.add_prompts(example_prompts(train=TRAIN, held_out=HELD_OUT))


@pytest.fixture(scope="module")
def finished(world: World, prompts: str) -> Run:
    return world.drive(world.add_run(recipe(), prompts))


def stages(world: World, run: Run) -> list[tuple[int, StageKind, StageStatus]]:
    with world.sessions() as session:
        query = select(Stage).where(Stage.run_id == run.id).order_by(Stage.round, Stage.position)
        return [(stage.round, stage.kind, stage.status) for stage in session.scalars(query)]


def measured(world: World, run: Run) -> list[EvaluationMetrics]:
    return [EvaluationMetrics.model_validate(row.metrics) for row in world.rows(Evaluation, run.id)]


def policies(world: World, run: Run) -> list[Checkpoint]:
    return world.rows(Checkpoint, run.id, kind=CheckpointKind.POLICY)


class TestWholeRun:
    def test_every_stage_of_every_round_has_run(self, world: World, finished: Run) -> None:
        assert (finished.status, finished.error) == (RunStatus.SUCCEEDED, None)
        kinds = Recipe.model_validate(finished.recipe).stages()
        assert stages(world, finished) == [(r, kind, StageStatus.SUCCEEDED) for r in (0, 1) for kind in kinds]

    def test_a_round_samples_from_and_trains_the_policy_of_the_one_before(self, world: World, finished: Run) -> None:
        first, second = policies(world, finished)
        start = world.model_of(first.id)

        assert first.lineage["start_model"] == finished.base_model_id
        assert second.lineage["start_model"] == start.id
        assert second.lineage["start_model_digest"] == first.digest
        assert first.lineage["base_model"] == second.lineage["base_model"] == finished.base_model_id
        assert first.digest != second.digest
        assert {row.round for row in world.rows(Completion, finished.id, split=Split.TRAIN)} == {0, 1}

    def test_every_completion_has_a_seed_of_its_own(self, world: World, finished: Run) -> None:
        completions = world.rows(Completion, finished.id)
        assert len(completions) == 2 * (TRAIN * 3 + HELD_OUT * 2 + HELD_OUT)
        assert len({row.seed for row in completions}) == len(completions)

    def test_every_round_meets_the_base_models_own_completions(self, world: World, finished: Run) -> None:
        texts = {row.id: row for row in world.rows(Completion, finished.id)}
        for comparison in world.rows(Comparison, finished.id, purpose=Purpose.EVALUATION):
            sides = [texts[comparison.first_id], texts[comparison.second_id]]
            assert {side.round for side in sides if side.source is CompletionSource.BASE} == {0}
            assert {side.round for side in sides if side.source is CompletionSource.POLICY} <= {comparison.round}

    def test_training_verdicts_are_of_the_rounds_own_completions(self, world: World, finished: Run) -> None:
        rounds = {row.id: row.round for row in world.rows(Completion, finished.id)}
        pairs = world.rows(Comparison, finished.id, purpose=Purpose.TRAIN)
        assert {row.round for row in pairs} == {0, 1}
        assert all(rounds[row.first_id] == rounds[row.second_id] == row.round for row in pairs)

    def test_the_policy_goes_further_from_the_base_model_each_round(self, world: World, finished: Run) -> None:
        first, second = (found.divergence for found in measured(world, finished))
        assert first is not None
        assert second is not None
        assert first.kl is not None
        assert second.kl is not None
        assert 0 < first.kl.value < second.kl.value
        assert first.kl.n == second.kl.n == HELD_OUT
        assert first.left_out == second.left_out == 0

    def test_the_length_ratio_is_that_of_what_was_compared(self, world: World, finished: Run) -> None:
        for found in measured(world, finished):
            assert found.divergence is not None
            assert found.divergence.length_ratio is not None
            expected = found.length.policy_mean_tokens / found.length.base_mean_tokens
            assert found.divergence.length_ratio.value == pytest.approx(expected)

    def test_only_the_better_round_is_promoted(self, world: World, finished: Run) -> None:
        rates = [found.win_rate.value for found in measured(world, finished)]
        best = rates.index(max(rates))
        decided = policies(world, finished)

        assert [row.promoted for row in decided] == [place == best for place in range(2)]
        assert decided[best].promotion_reasons == []
        (reason,) = decided[1 - best].promotion_reasons or []
        assert reason["gate"] == "best_round"
        assert f"round {best} is better" in reason["detail"]

    def test_the_end_is_an_event_with_the_figures(self, world: World, finished: Run) -> None:
        (event,) = world.rows(Event, finished.id, type="rounds.stopped")
        rates = [found.win_rate.value for found in measured(world, finished)]

        assert event.data["reason"] in ("count_reached", "no_improvement")
        assert event.data["best_round"] == rates.index(max(rates))
        assert [each["win_rate"] for each in event.data["figures"]] == rates
        types = [row.type for row in world.rows(Event, finished.id)]
        assert types.index("rounds.stopped") < types.index("run.succeeded")


class TestReport:
    def test_it_is_of_the_best_round_and_says_why_the_rounds_ended(self, world: World, finished: Run) -> None:
        with world.sessions() as session:
            found = reports.get(session, world.project, finished.id)
        rates = [each.win_rate for each in measured(world, finished)]
        (event,) = world.rows(Event, finished.id, type="rounds.stopped")

        assert found.rounds is not None
        assert (found.rounds.count, found.rounds.measured) == (2, 2)
        assert found.rounds.best_round == event.data["best_round"]
        assert (found.rounds.ended, found.rounds.detail) == (event.data["reason"], event.data["detail"])
        assert found.headline.win_rate == rates[event.data["best_round"]]
        assert found.promotion is not None
        assert found.promotion.promoted
        assert [(point.round, point.win_rate) for point in found.frontier] == list(enumerate(rates))
        assert {usage.round for usage in found.usage} == {0, 1}

    def test_a_policy_that_went_too_far_is_reported_as_held_back(self, world: World, prompts: str) -> None:
        run = world.drive(world.add_run(recipe(maximum_kl=0.01) | FAR, prompts))
        with world.sessions() as session:
            found = reports.get(session, world.project, run.id)

        assert found.rounds is not None
        assert (found.rounds.best_round, found.rounds.ended) == (None, "maximum_kl")
        assert found.promotion is not None
        assert [reason.gate for reason in found.promotion.reasons] == ["rounds.maximum_kl"]
        assert not found.promotion.promoted


class TestEarlyEnd:
    @pytest.mark.parametrize(
        ("rounds", "reason"),
        [
            ({"minimum_improvement": 0.9}, "no_improvement"),
            ({"maximum_kl": 0.01}, "maximum_kl"),
        ],
    )
    def test_the_rest_is_skipped_and_the_run_succeeds(
        self, world: World, prompts: str, rounds: dict[str, Any], reason: str
    ) -> None:
        run = world.drive(world.add_run(recipe(**rounds) | FAR, prompts))

        assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
        assert {status for round_, _, status in stages(world, run) if round_ == 0} == {StageStatus.SUCCEEDED}
        assert {status for round_, _, status in stages(world, run) if round_ == 1} == {StageStatus.SKIPPED}
        (event,) = world.rows(Event, run.id, type="rounds.stopped")
        assert (event.data["round"], event.data["reason"]) == (0, reason)
        (policy,) = policies(world, run)
        assert policy.promoted == (reason == "no_improvement")  # what is beyond a limit is not
        assert [row.round for row in world.rows(Evaluation, run.id)] == [0]

    def test_a_longer_policy_stops(self, world: World, prompts: str, finished: Run) -> None:
        """At a limit between the base model's length and that which the same first round came to."""
        gone = measured(world, finished)[0].divergence
        assert gone is not None
        assert gone.length_ratio is not None
        limit = max(1.0, (1.0 + gone.length_ratio.value) / 2)
        run = world.drive(world.add_run(recipe(maximum_length_ratio=limit), prompts))

        (event,) = world.rows(Event, run.id, type="rounds.stopped")
        exceeds = gone.length_ratio.value > limit
        assert ((event.data["round"], event.data["reason"]) == (0, "maximum_length_ratio")) == exceeds
        assert exceeds <= (policies(world, run)[0].promoted is False)


class TestKilled:
    def test_a_run_that_is_killed_at_every_transaction_is_the_same_run(
        self, world: World, prompts: str, finished: Run
    ) -> None:
        run_id = world.add_run(recipe(), prompts)
        assert world.drive_killed(run_id) > 20

        again = world.get(Run, run_id)
        assert (again.status, again.error) == (RunStatus.SUCCEEDED, None)
        assert [row.digest for row in policies(world, again)] == [row.digest for row in policies(world, finished)]
        assert len(world.rows(Event, run_id, type="rounds.stopped")) == 1
        for ours, theirs in zip(measured(world, again), measured(world, finished), strict=True):
            assert (ours.win_rate, ours.divergence) == (theirs.win_rate, theirs.divergence)


@pytest.fixture(scope="module")
def third_judge(world: World) -> str:
    check = {"kind": "length", "unit": "words", "minimum": 1, "maximum": 12}
    spec = {"kind": "checks", "family": "third", "criteria": [{"name": "short", "description": "x", "check": check}]}
    return world.add_judge(spec)


class TestMeasuredAgain:
    @pytest.mark.parametrize("round_", [0, 1])
    def test_a_policy_of_any_round_is_measured_by_another_judge(
        self, world: World, finished: Run, third_judge: str, round_: int
    ) -> None:
        policy = policies(world, finished)[round_]
        request = EvaluationIn(name="again", judge=third_judge, evaluate=EvaluateConfig(bootstrap_samples=200))
        with world.sessions.begin() as session:
            made = evaluations.create(
                WriteSession(session), world.project, policy.id, request, store=world.store, prices=PriceTable()
            )
            run_id = made.run.id
        run = world.drive(run_id)

        assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
        (row,) = world.rows(Evaluation, run_id)
        assert (row.checkpoint_id, row.round) == (policy.id, round_)
        executed = [(r, kind) for r, kind, status in stages(world, run) if status is StageStatus.SUCCEEDED]
        assert executed == [(round_, StageKind.EVALUATE)]
        assert world.rows(Verdict, run_id)
        assert world.get(Checkpoint, policy.id).promoted == policy.promoted
        (before, after) = (measured(world, finished)[round_], *measured(world, run))
        assert before.divergence is not None
        assert after.divergence is not None
        assert before.divergence.kl is not None
        assert after.divergence.kl is not None  # sampled anew, with the same seeds
        assert after.divergence.kl.value == pytest.approx(before.divergence.kl.value, abs=1e-3)

    def test_its_results_are_those_of_its_round_and_the_ones_before(
        self, world: World, finished: Run, third_judge: str
    ) -> None:
        policy = policies(world, finished)[0]
        request = EvaluationIn(name="first", judge=third_judge, evaluate=EvaluateConfig(bootstrap_samples=200))
        with world.sessions.begin() as session:
            made = evaluations.create(
                WriteSession(session), world.project, policy.id, request, store=world.store, prices=PriceTable()
            )
            found = runs.provenance(session, world.project, made.run.id)
            listed = reports.get(session, world.project, made.run.id).lineage.checkpoints
        assert {round_ for round_, _ in found.reused} == {0}
        assert {row.round for row in listed} == {0}
