"""A whole run on the example model: every stage of it leaves what the next one needs, and its evidence."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
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
    Model,
    ModelKind,
    Preference,
    Purpose,
    Run,
    RunStatus,
    Split,
    Verdict,
)
from app.db.session import WriteSession
from app.rlaif.evidence import EvaluationMetrics, JudgeMetrics, PreferenceMetrics, RewardModelMetrics
from app.rlaif.pair_figures import PairQuality
from app.rlaif.prices import PriceTable
from app.rlaif.promotion import PromotionGates
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.refusals import is_refusal
from app.rlaif.sections import EvaluateConfig
from app.schemas.evaluation import EvaluationIn
from app.services import evaluations
from tests.integration.stages.world import Row, World, example_prompts

TRAIN, HELD_OUT = 12, 20
SHORT = {
    "name": "short",
    "description": "Few words.",
    "check": {"kind": "length", "unit": "words", "minimum": 1, "maximum": 12},
}
RECIPE: dict[str, Any] = {
    "seed": 7,
    "sample": {
        "completions": 3,
        "held_out_completions": 2,
        "max_new_tokens": 32,
        "batch_size": 16,
        "prompts_per_shard": 8,
    },
    "judge": {"prompts_per_shard": 8},
    "prefer": {"max_length": 256},
    "reward_model": {"learning_rate": 5e-4, "epochs": 1, "batch_size": 8, "max_length": 256},
    "policy": {"learning_rate": 1e-4, "epochs": 1, "batch_size": 8, "max_length": 256},
    "evaluate": {"bootstrap_samples": 200},
}
GATES = {"minimum_win_rate": 0.0, "maximum_cohort_regression": {"nobody": 0.1}}


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    world: World
    run: Run

    def rows(self, table: type[Row], **where: Any) -> list[Row]:
        return self.world.rows(table, self.run.id, **where)

    def metrics(self, kind: StageKind) -> dict[str, Any]:
        return self.world.stage(self.run.id, kind).metrics

    def verdicts_of(self, judge_id: str) -> list[Verdict]:
        return self.rows(Verdict, judge_id=judge_id)

    def kept(self, split: Split) -> list[Preference]:
        return [row for row in self.rows(Preference, split=split) if row.drop_reason is None]

    def events(self, type_: str) -> list[dict[str, Any]]:
        return [event.data for event in self.rows(Event, type=type_)]

    def evaluation(self) -> EvaluationMetrics:
        (evaluation,) = self.rows(Evaluation)
        return EvaluationMetrics.model_validate(evaluation.metrics)

    def checkpoint(self, kind: str) -> Checkpoint:
        (checkpoint,) = self.rows(Checkpoint, kind=CheckpointKind(kind))
        return checkpoint

    def fork(self, recipe: dict[str, Any], reuse: Iterable[StageKind]) -> str:
        """A started run that reuses some of this one's stages."""
        return self.world.add_run(recipe, self.run.prompt_set_id, reuse=dict.fromkeys(reuse, self.run.id))


@pytest.fixture(scope="module")
def finished(world: World) -> Finished:
    prompts = world.add_prompts(example_prompts(train=TRAIN, held_out=HELD_OUT))
    return Finished(
        world, world.drive(world.add_run(RECIPE | {"evaluate": {**RECIPE["evaluate"], "gates": GATES}}, prompts))
    )


class TestWholeRun:
    def test_it_succeeds(self, finished: Finished) -> None:
        assert (finished.run.status, finished.run.error) == (RunStatus.SUCCEEDED, None)

    def test_every_unit_is_sampled_once_with_a_seed_of_its_own(self, finished: Finished) -> None:
        completions = finished.rows(Completion)
        counts = Counter((row.split, row.source) for row in completions)
        assert counts == {
            (Split.TRAIN, CompletionSource.BASE): TRAIN * 3,
            (Split.HELD_OUT, CompletionSource.BASE): HELD_OUT * 2,
            (Split.HELD_OUT, CompletionSource.POLICY): HELD_OUT,
        }
        assert len({row.seed for row in completions}) == len(completions)

    def test_both_orders_of_every_pair_that_differs_are_judged(self, finished: Finished) -> None:
        texts = {row.id: row.text for row in finished.rows(Completion)}
        differing = {row.id for row in finished.rows(Comparison) if texts[row.first_id] != texts[row.second_id]}
        assert Counter(row.comparison_id for row in finished.rows(Verdict)) == dict.fromkeys(differing, 2)

    def test_only_the_evaluation_judge_evaluates(self, finished: Finished) -> None:
        purposes = {row.id: row.purpose for row in finished.rows(Comparison)}
        judges: dict[Purpose, set[str]] = {}
        for verdict in finished.rows(Verdict):
            judges.setdefault(purposes[verdict.comparison_id], set()).add(verdict.judge_id)
        assert judges == {
            Purpose.TRAIN: {finished.world.judge},
            Purpose.HELD_OUT: {finished.world.judge},
            Purpose.EVALUATION: {finished.world.evaluation_judge},
        }

    def test_every_comparison_but_the_evaluation_s_is_believed_or_dropped(self, finished: Finished) -> None:
        compared = {row.id: row.purpose for row in finished.rows(Comparison)}
        believed = {row.comparison_id: row.split for row in finished.rows(Preference)}
        splits = {Purpose.TRAIN: Split.TRAIN, Purpose.HELD_OUT: Split.HELD_OUT}
        assert believed == {id_: splits[purpose] for id_, purpose in compared.items() if purpose in splits}


class TestEvidence:
    def test_stages_report_in_the_agreed_shapes(self, finished: Finished) -> None:
        judge = JudgeMetrics.model_validate(finished.metrics(StageKind.JUDGE))
        figures = finished.metrics(StageKind.PREFER)
        quality = PairQuality.model_validate(figures.pop("pair_quality"))
        prefer = PreferenceMetrics.model_validate(figures)
        assert (quality.pairs, quality.kept) == (prefer.comparisons_train, prefer.kept_train)
        trained = finished.metrics(StageKind.REWARD_MODEL)
        reward_model = RewardModelMetrics.model_validate({name: trained[name] for name in trained.keys() - {"alarms"}})
        assert judge.verdicts == len(finished.verdicts_of(finished.world.judge))
        assert prefer.comparisons == len(finished.rows(Preference))
        left_out = reward_model.identical_pairs + reward_model.overlong_prompts
        assert reward_model.train_pairs + left_out == len(finished.kept(Split.TRAIN))
        assert reward_model.held_out_pairs + reward_model.held_out_left_out == len(finished.kept(Split.HELD_OUT))
        assert trained == finished.checkpoint("reward_model").metrics
        assert reward_model.model_dump(mode="json") | {"alarms": []} == trained

    def test_the_evaluation_adds_up(self, finished: Finished) -> None:
        metrics = finished.evaluation()
        rate = metrics.win_rate
        assert rate.wins + rate.ties + rate.losses == rate.n_prompts == HELD_OUT
        assert rate.value == pytest.approx((rate.wins + rate.ties / 2) / HELD_OUT)
        assert rate.low <= rate.value <= rate.high
        assert sum(cohort.n_prompts for cohort in metrics.by_cohort.values()) == HELD_OUT
        assert rate.length_controlled is not None
        assert rate.length_controlled.low <= rate.length_controlled.value <= rate.length_controlled.high
        assert {cohort.length_controlled for cohort in metrics.by_cohort.values()} == {None}
        assert metrics.control is not None
        assert metrics.disagreement_with_training_judge is not None
        assert metrics.circular is False
        assert metrics.judge.verdicts == len(finished.verdicts_of(finished.world.evaluation_judge))

    def test_the_policy_s_wins_are_those_of_the_verdicts(self, finished: Finished) -> None:
        """Counted again from the stored rows, on whichever side of its comparison the policy stood."""
        policy = {row.id for row in finished.rows(Completion, source=CompletionSource.POLICY)}
        chances: dict[str, list[float]] = {}
        sides = {row.id: row for row in finished.rows(Comparison, purpose=Purpose.EVALUATION)}
        for verdict in finished.verdicts_of(finished.world.evaluation_judge):
            comparison, probability = sides[verdict.comparison_id], verdict.probability
            assert probability is not None
            if comparison.first_id in policy:
                chances.setdefault(comparison.id, []).append(probability)
            elif comparison.second_id in policy:
                chances.setdefault(comparison.id, []).append(1 - probability)
        means = [sum(pair) / 2 for pair in chances.values()]
        rate = finished.evaluation().win_rate
        assert (rate.wins, rate.losses) == (sum(p > 0.5 for p in means), sum(p < 0.5 for p in means))

    def test_refusals_are_counted_in_every_cohort(self, finished: Finished) -> None:
        metrics = finished.evaluation()
        assert sum(found.n for found in metrics.refusals.values()) == HELD_OUT
        base = finished.rows(Completion, split=Split.HELD_OUT, source=CompletionSource.BASE, position=0)
        refused = sum(is_refusal(row.text) for row in base)
        assert sum(found.base_share * found.n for found in metrics.refusals.values()) == pytest.approx(refused)

    def test_examples_are_texts_of_this_run(self, finished: Finished) -> None:
        texts = {(row.source, row.text) for row in finished.rows(Completion, split=Split.HELD_OUT)}
        examples = finished.evaluation().examples
        assert examples
        assert {(CompletionSource.POLICY, example.policy) for example in examples} <= texts
        assert {(CompletionSource.BASE, example.base) for example in examples} <= texts

    def test_the_reward_model_scored_every_answer(self, finished: Finished) -> None:
        scored = [row for row in finished.rows(Completion, split=Split.HELD_OUT) if row.reward is not None]
        assert Counter(row.source for row in scored) == {
            CompletionSource.BASE: HELD_OUT * 2,
            CompletionSource.POLICY: HELD_OUT,
        }
        policy = [row.reward for row in scored if row.source is CompletionSource.POLICY]
        reward = finished.evaluation().reward
        assert reward is not None
        assert reward.policy_mean == pytest.approx(sum(value or 0.0 for value in policy) / HELD_OUT)

    def test_the_best_of_two_by_the_reward_model_is_the_better_one(self, finished: Finished) -> None:
        rewards: dict[str, list[float]] = {}
        for row in finished.rows(Completion, split=Split.HELD_OUT, source=CompletionSource.BASE):
            rewards.setdefault(row.prompt_id, []).append(row.reward or 0.0)
        one, two = finished.evaluation().best_of_n
        assert one.reward == pytest.approx(sum(sum(pair) / 2 for pair in rewards.values()) / HELD_OUT)
        assert two.reward == pytest.approx(sum(max(pair) for pair in rewards.values()) / HELD_OUT)

    def test_the_judge_s_opinion_of_the_reward_model_s_choice(self, finished: Finished) -> None:
        """Counted again from the stored rows of base against base."""
        rewards = {row.id: row.reward for row in finished.rows(Completion, source=CompletionSource.BASE)}
        chances: dict[str, list[float]] = {}
        sides = {row.id: row for row in finished.rows(Comparison, purpose=Purpose.EVALUATION)}
        for verdict in finished.verdicts_of(finished.world.evaluation_judge):
            row, probability = sides[verdict.comparison_id], verdict.probability
            first, second = rewards.get(row.first_id), rewards.get(row.second_id)
            if probability is not None and first is not None and second is not None and first != second:
                chances.setdefault(row.id, []).append(probability if first > second else 1 - probability)
        means = [sum(pair) / 2 for pair in chances.values()]
        chosen = finished.evaluation().chosen_by_reward
        assert chosen is not None
        assert (chosen.wins, chosen.losses) == (sum(p > 0.5 for p in means), sum(p < 0.5 for p in means))
        assert chosen.n_prompts == len(means)


class TestCheckpoints:
    @pytest.mark.parametrize("kind", [CheckpointKind.REWARD_MODEL, CheckpointKind.POLICY])
    def test_what_is_published_verifies_and_holds_the_model_alone(
        self, finished: Finished, kind: CheckpointKind
    ) -> None:
        (checkpoint,) = finished.rows(Checkpoint, kind=kind)
        manifest = finished.world.store.verify(checkpoint.storage_key)
        names = {entry.name for entry in manifest.files}
        assert (manifest.digest, manifest.as_dict()) == (checkpoint.digest, checkpoint.manifest)
        assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
        assert not any(name.startswith(".") for name in names)
        folder = finished.world.store.path(checkpoint.storage_key).parent
        assert [path.name for path in folder.iterdir()] == [checkpoint.storage_key.rpartition("/")[2]]

    def test_a_gate_that_fails_holds_the_policy_back_and_says_so(self, finished: Finished) -> None:
        policy, reward_model = (finished.checkpoint(kind) for kind in ("policy", "reward_model"))
        assert (reward_model.promoted, reward_model.promotion_reasons) == (None, None)
        assert policy.promoted is False
        assert [reason["held"] for reason in policy.promotion_reasons or ()] == [True, False]
        told = finished.events("checkpoint.held_back")
        assert told == [{"checkpoint": policy.id, "reasons": policy.promotion_reasons}]
        assert finished.events("checkpoint.promoted") == []

    def test_lineage_counts_what_was_trained_on(self, finished: Finished) -> None:
        policy, reward_model = (finished.checkpoint(kind).lineage for kind in ("policy", "reward_model"))
        assert policy["preferences"] == len(finished.kept(Split.TRAIN))
        assert policy["preferences_digest"] == reward_model["preferences_digest"]
        assert policy["base_model_digest"] == finished.world.get(Model, finished.world.model).digest
        assert policy["judges"] == [finished.world.judge]

    def test_the_policy_is_a_model_that_a_run_can_start_from(self, finished: Finished) -> None:
        checkpoint = finished.checkpoint("policy")
        model = finished.world.model_of(checkpoint.id)
        assert (model.kind, model.storage_key, model.digest) == (
            ModelKind.CHECKPOINT,
            checkpoint.storage_key,
            checkpoint.digest,
        )


class TestFork:
    """A run that reuses another's stages reads its rows and writes none of them."""

    def test_other_preferences_from_the_same_verdicts(self, finished: Finished) -> None:
        world, reuse = finished.world, (StageKind.SAMPLE, StageKind.JUDGE)
        recipe = RECIPE | {"stop_after": "prefer", "prefer": {"max_length": 256, "minimum_margin": 0.5}}
        fork = world.drive(finished.fork(recipe, reuse))
        assert fork.status is RunStatus.SUCCEEDED
        assert not world.rows(Completion, fork.id) + world.rows(Comparison, fork.id) + world.rows(Verdict, fork.id)
        original, forked = world.preferences(finished.run.id), world.preferences(fork.id)
        assert forked.keys() == original.keys()
        weak = {key for key, row in original.items() if row[1] is not None and abs(2 * row[1] - 1) < 0.5}
        assert {key for key, row in forked.items() if row[3] == "below_margin"} == weak != set()

    def test_another_evaluation_of_the_same_policy(self, finished: Finished) -> None:
        world, reuse = finished.world, [kind for kind in Recipe().stages() if kind is not StageKind.EVALUATE]
        rewards = {row.id: row.reward for row in finished.rows(Completion)}
        fork = world.drive(finished.fork(RECIPE, reuse))
        assert fork.status is RunStatus.SUCCEEDED
        assert {row.source for row in world.rows(Completion, fork.id)} == {CompletionSource.POLICY}
        assert {row.id: row.reward for row in finished.rows(Completion)} == rewards
        (evaluation,) = world.rows(Evaluation, fork.id)
        forked, original = EvaluationMetrics.model_validate(evaluation.metrics), finished.evaluation()
        assert forked.win_rate == original.win_rate
        assert forked.reward == original.reward
        assert evaluation.checkpoint_id == finished.checkpoint("policy").id
        assert forked.promotion is not None
        assert forked.promotion.promoted
        assert finished.checkpoint("policy").promoted is False
        assert world.rows(Event, fork.id, type="checkpoint.promoted") == []

    def test_one_request_measures_again_by_another_judge(self, finished: Finished) -> None:
        world, policy = finished.world, finished.checkpoint("policy")
        other = world.add_judge({"kind": "checks", "family": "third", "criteria": [SHORT]})
        gates = PromotionGates(minimum_win_rate=1.0)
        request = EvaluationIn(name="again", judge=other, evaluate=EvaluateConfig(gates=gates))
        with world.sessions.begin() as session:
            made = evaluations.create(
                WriteSession(session), world.project, policy.id, request, store=world.store, prices=PriceTable()
            )
        fork = world.drive(made.run.id)
        assert (fork.status, fork.error, fork.forked_from_id) == (RunStatus.SUCCEEDED, None, finished.run.id)
        (evaluation,) = world.rows(Evaluation, fork.id)
        assert (evaluation.checkpoint_id, evaluation.judge_id) == (policy.id, other)
        promotion = EvaluationMetrics.model_validate(evaluation.metrics).promotion
        assert promotion is not None
        assert [reason.gate for reason in promotion.reasons] == ["minimum_win_rate"]
        assert {row.judge_id for row in world.rows(Verdict, fork.id)} == {other}
        assert len(finished.rows(Evaluation)) == 1

    def test_a_judge_that_labels_and_measures_is_called_circular(self, finished: Finished) -> None:
        world, reuse = finished.world, [kind for kind in Recipe().stages() if kind is not StageKind.EVALUATE]
        other, world.evaluation_judge = world.evaluation_judge, world.add_judge({"kind": "checks", "family": "twin"})
        fork = world.drive(finished.fork(RECIPE, reuse))
        world.evaluation_judge = other
        (evaluation,) = world.rows(Evaluation, fork.id)
        metrics = EvaluationMetrics.model_validate(evaluation.metrics)
        assert (metrics.circular, metrics.disagreement_with_training_judge) == (True, 0.0)


def test_stage_modules_import_without_torch() -> None:
    """An io worker has none."""
    code = (
        "import sys, workers.judges.build; from workers.stages import registry\n"
        "for kind in registry.STAGES: registry.stage_function('workers.stages.registry:STAGES', kind)\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
