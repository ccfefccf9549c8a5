"""The training stages when they are stopped, killed, overtaken, or given what cannot be trained on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from app.db.models import Checkpoint, CheckpointKind, Model, Run, RunStatus
from app.rlaif.evidence import RewardModelMetrics
from app.rlaif.preference_loss import LOSS_SETTINGS, PreferenceLoss
from app.rlaif.recipe import StageKind
from app.storage import ArtifactDamaged
from tests.integration.stages.in_process import Killed, Watch
from tests.integration.stages.world import World, example_prompts
from workers.stages.contract import GiveBack, LeaseLost, ShardWork, StageError, StageRefused
from workers.stages.training import ends_explained
from workers.training.contracts import (
    NonFiniteLoss,
    NoTrainingData,
    QuantizationUnavailable,
    TemplateRefusesPrompt,
    TrainingStopped,
)

RECIPE: dict[str, Any] = {
    "stop_after": "policy",
    "sample": {"source": "prompt_set", "max_new_tokens": 16},
    "prefer": {"source": "prompt_set", "max_length": 128},
    "reward_model": {"learning_rate": 5e-4, "epochs": 1, "batch_size": 2, "max_length": 128},
    "policy": {"learning_rate": 1e-4, "epochs": 2, "batch_size": 2, "max_length": 128},
}
BROUGHT = {
    "candidates": ["Thank you for asking. Kites fly.", "Kites fly, you know, and so on."],
    "preferences": [{"first": 0, "second": 1, "probability": 0.9}],
}
STEPS = 2 * 8 // 2


@pytest.fixture(scope="module")
def believed(world: World) -> Run:
    """A run with preferences, and nothing trained on them yet."""
    prompts = [prompt | BROUGHT for prompt in example_prompts(train=8, held_out=2)]
    return world.drive(world.add_run(RECIPE | {"stop_after": "prefer"}, world.add_prompts(prompts)))


@pytest.fixture
def training(world: World, believed: Run) -> Iterator[str]:
    """A run whose policy stage is next."""
    reuse = dict.fromkeys((StageKind.SAMPLE, StageKind.PREFER), believed.id)
    run_id = world.add_run(RECIPE, believed.prompt_set_id, reuse=reuse)
    world.work_off(world.next_shard(run_id) or "")  # the reward model
    yield run_id
    world.drive(run_id)


def begin(world: World, run_id: str) -> ShardWork:
    return world.claim(world.next_shard(run_id) or "")


def policy(world: World, run_id: str) -> Checkpoint:
    (checkpoint,) = world.rows(Checkpoint, run_id, kind=CheckpointKind.POLICY)
    return checkpoint


def published(world: World, run_id: str) -> list[str]:
    """Every directory in the store that a policy stage of this run left."""
    folder = world.store.path(f"checkpoints/{world.project}/{run_id}/0-policy")
    return sorted(path.name for path in folder.iterdir())


class TestInterruption:
    def test_a_stopped_training_goes_on_to_the_same_weights(self, world: World, training: str, believed: Run) -> None:
        work = begin(world, training)
        with pytest.raises(GiveBack):
            world.execute(work, progress=Watch(stop_after_reports=3))
        world.release(work)
        watch = Watch()
        work = begin(world, training)
        world.complete(work, world.execute(work, progress=watch))
        assert 1 < watch.reports[0][0] <= STEPS
        reuse = dict.fromkeys((StageKind.SAMPLE, StageKind.PREFER), believed.id)
        undisturbed = world.drive(world.add_run(RECIPE, believed.prompt_set_id, reuse=reuse))
        assert policy(world, training).digest == policy(world, undisturbed.id).digest
        assert policy(world, training).metrics["resumed_from"] == watch.reports[0][0] - 1
        assert policy(world, undisturbed.id).metrics["resumed_from"] is None

    def test_killed_before_the_row_it_leaves_nothing_behind(self, world: World, training: str) -> None:
        work = begin(world, training)
        with pytest.raises(Killed):
            world.execute(work, kill_at=1)
        assert world.rows(Checkpoint, training, kind=CheckpointKind.POLICY) == []
        assert len(published(world, training)) == 1
        world.release(work)
        assert world.drive(training).status is RunStatus.SUCCEEDED
        assert published(world, training) == [policy(world, training).storage_key.rpartition("/")[2]]
        assert world.store.verify(policy(world, training).storage_key).digest == policy(world, training).digest

    def test_done_twice_it_adopts_what_is_there(self, world: World, training: str) -> None:
        work = begin(world, training)
        first = world.execute(work)
        before = (policy(world, training).id, published(world, training))
        watch = Watch()
        assert world.execute(work, progress=watch) == first
        assert ((policy(world, training).id, published(world, training)), watch.reports) == (before, [])

    def test_a_holder_that_was_overtaken_publishes_nothing_that_counts(self, world: World, training: str) -> None:
        stale = begin(world, training)
        world.release(stale)
        work = begin(world, training)
        with pytest.raises(LeaseLost):
            world.execute(stale)
        assert world.rows(Checkpoint, training, kind=CheckpointKind.POLICY) == []
        world.complete(work, world.execute(work))
        assert policy(world, training).storage_key.endswith(f"{work.shard_id}-{work.token}")
        assert len(published(world, training)) == 1


class TestLosses:
    @pytest.mark.parametrize("loss", sorted(PreferenceLoss))
    def test_a_run_trains_by_it(self, world: World, believed: Run, loss: str) -> None:
        reuse = dict.fromkeys((StageKind.SAMPLE, StageKind.PREFER), believed.id)
        settings = RECIPE["policy"] | {"loss": loss, "learning_rate": 3e-5, "warmup_ratio": 0.0}
        run_id = world.add_run(RECIPE | {"policy": settings}, believed.prompt_set_id, reuse=reuse)
        run = world.drive(run_id)
        assert (run.status, run.recipe["policy"]["loss"]) == (RunStatus.SUCCEEDED, loss)
        metrics = policy(world, run_id).metrics
        assert metrics["train_pairs"] == 8
        assert metrics["accuracy"] > 0.5
        assert ("reference_kl" in metrics) == LOSS_SETTINGS[PreferenceLoss(loss)].has_reference

    def test_adapters_are_published_beside_what_they_were_merged_into(self, world: World, believed: Run) -> None:
        reuse = dict.fromkeys((StageKind.SAMPLE, StageKind.PREFER), believed.id)
        lora = {part: RECIPE[part] | {"lora": {"rank": 4}} for part in ("reward_model", "policy")}
        run = world.drive(world.add_run(RECIPE | lora, believed.prompt_set_id, reuse=reuse))
        assert run.status is RunStatus.SUCCEEDED
        for checkpoint in world.rows(Checkpoint, run.id):
            names = {entry["name"] for entry in checkpoint.manifest["files"]}
            assert {"model.safetensors", "adapter/adapter_model.safetensors"} <= names

    def test_a_second_run_finds_the_reference(self, world: World, believed: Run) -> None:
        reuse = dict.fromkeys((StageKind.SAMPLE, StageKind.PREFER), believed.id)
        other = {"policy": RECIPE["policy"] | {"beta": 0.3, "max_length": 120}}
        before, after = (world.drive(world.add_run(RECIPE | other, believed.prompt_set_id, reuse=reuse)) for _ in "12")
        assert policy(world, after.id).metrics["reference_cached_pairs"] == 8
        assert policy(world, after.id).digest == policy(world, before.id).digest


class TestCounts:
    def test_what_was_cut_or_left_out_is_in_the_metrics(self, world: World, believed: Run) -> None:
        """At 24 tokens every pair is cut, has no room, or is the same on both sides."""
        short = {part: RECIPE[part] | {"max_length": 24} for part in ("reward_model", "policy")}
        reuse = dict.fromkeys((StageKind.SAMPLE, StageKind.PREFER), believed.id)
        run = world.drive(world.add_run(RECIPE | short, believed.prompt_set_id, reuse=reuse))
        assert run.status is RunStatus.SUCCEEDED
        (reward_model,) = world.rows(Checkpoint, run.id, kind=CheckpointKind.REWARD_MODEL)
        found = world.stage(run.id, StageKind.REWARD_MODEL).metrics
        counts = RewardModelMetrics.model_validate({name: found[name] for name in found.keys() - {"alarms"}})
        assert reward_model.metrics == counts.model_dump(mode="json") | {"alarms": []}
        assert counts.train_pairs + counts.identical_pairs + counts.overlong_prompts == 8
        assert (counts.truncated_pairs, counts.rejected_states) == (counts.train_pairs, [])
        assert counts.held_out_pairs + counts.held_out_left_out == 2
        assert counts.identical_pairs + counts.overlong_prompts > 0
        assert policy(world, run.id).metrics["rejected_states"] == []


class TestRefusal:
    def test_a_damaged_base_model_is_refused(self, world: World, training: str) -> None:
        weights = world.store.path(world.get(Model, world.model).storage_key) / "model.safetensors"
        sound = weights.read_bytes()
        weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        work = begin(world, training)
        with pytest.raises(StageRefused, match=r"model\.safetensors") as raised:
            world.execute(work)
        weights.write_bytes(sound)
        world.release(work)
        assert raised.value.code == "artifact_damaged"
        assert isinstance(raised.value.__cause__, ArtifactDamaged)

    def test_a_damaged_tokenizer_is_refused_where_only_it_is_read(self, world: World, believed: Run) -> None:
        tokenizer = world.store.path(world.get(Model, world.model).storage_key) / "tokenizer.json"
        sound = tokenizer.read_bytes()
        tokenizer.write_bytes(sound.replace(b"kite", b"kita", 1))
        run = world.drive(world.add_run(RECIPE | {"stop_after": "prefer"}, believed.prompt_set_id))
        tokenizer.write_bytes(sound)
        assert run.error is not None
        assert (run.error["code"], run.error["stage"]) == ("artifact_damaged", "sample")

    @pytest.mark.parametrize(
        ("raised", "expected", "code"),
        [
            (TrainingStopped(3, 9), GiveBack, "stopped"),
            (NonFiniteLoss("loss", float("nan"), 4), StageRefused, "non_finite_loss"),
            (NoTrainingData(5, "all ties"), StageRefused, "no_training_data"),
            (QuantizationUnavailable("nf4"), StageRefused, "quantization_unavailable"),
            (TemplateRefusesPrompt("no tools", "Hi"), StageRefused, "template_refuses_prompt"),
        ],
    )
    def test_a_training_s_end_is_the_stage_s(self, raised: Exception, expected: type[StageError], code: str) -> None:
        with pytest.raises(expected, match=re.escape(str(raised))) as error, ends_explained():
            raise raised
        assert error.value.code == code
