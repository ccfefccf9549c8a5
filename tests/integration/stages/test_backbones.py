"""A reward model that starts from an encoder, through the real stages: trained, judging, and rewarding a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.db.models import Checkpoint, CheckpointKind, Completion, CompletionSource, Model, Run, RunStatus, Verdict
from app.rlaif.comparison import Answer
from app.rlaif.evidence import RewardModelMetrics
from app.rlaif.recipe import StageKind
from tests.integration.stages.test_chain import RECIPE
from tests.integration.stages.test_online_policy import BEFORE, ONLINE
from tests.integration.stages.world import EXAMPLES, World, example_prompts
from tests.training.tiny import build_encoder

TRAIN, HELD_OUT = 12, 6


@pytest.fixture(scope="module")
def backbone(world: World, tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = build_encoder(tmp_path_factory.mktemp("encoder") / "bert", positions=1024)
    return world.add_model("encoder", directory, architecture="BertForMaskedLM")


@pytest.fixture(scope="module")
def recipe(backbone: str) -> dict[str, Any]:
    return RECIPE | {"reward_model": RECIPE["reward_model"] | {"backbone": backbone, "members": 2, "max_length": 256}}


@pytest.fixture(scope="module")
def rewarded(world: World, recipe: dict[str, Any]) -> Run:
    """A run that has a reward model of two members, and no policy yet."""
    prompts = world.add_prompts(example_prompts(train=TRAIN, held_out=HELD_OUT))
    return world.drive(world.add_run(recipe | {"stop_after": "reward_model"}, prompts))


def reward_model(world: World, run: Run) -> Checkpoint:
    (checkpoint,) = world.rows(Checkpoint, run.id, kind=CheckpointKind.REWARD_MODEL)
    return checkpoint


def test_it_is_published_with_its_lineage_and_the_policys_template(world: World, rewarded: Run, backbone: str) -> None:
    assert (rewarded.status, rewarded.error) == (RunStatus.SUCCEEDED, None)
    checkpoint = reward_model(world, rewarded)
    assert checkpoint.lineage["backbone"] == backbone
    assert checkpoint.lineage["backbone_digest"] == world.get(Model, backbone).digest
    assert checkpoint.lineage["base_model"] == world.model
    found = checkpoint.metrics
    metrics = RewardModelMetrics.model_validate({name: found[name] for name in found.keys() - {"alarms"}})
    assert metrics.held_out_pairs > 0
    assert metrics.ensemble is not None
    assert metrics.ensemble.disagreement is not None
    published = Path(world.store.path(checkpoint.storage_key))
    assert (published / "chat_template.jinja").read_text() == _template_of_the_policy()


def _template_of_the_policy() -> str:
    from transformers import AutoTokenizer

    template: str = AutoTokenizer.from_pretrained(EXAMPLES / "base_model").chat_template
    return template


@pytest.mark.parametrize("method", ["grpo", "ppo"])
def test_it_rewards_a_policy_of_other_tokens(world: World, rewarded: Run, recipe: dict[str, Any], method: str) -> None:
    """PPO's critic cannot start from it and starts from the policy."""
    policy = {"method": method, **ONLINE, "reward": {"reward_model": 1.0}}
    whole = recipe | {"stop_after": "evaluate", "policy": policy}
    run_id = world.add_run(whole, rewarded.prompt_set_id, reuse=dict.fromkeys(BEFORE, rewarded.id))
    run = world.drive(run_id)
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
    metrics = world.stage(run.id, StageKind.POLICY).metrics
    assert metrics["missing_rewards"] == 0
    assert metrics["reward_std"] > 0
    scored = world.rows(Completion, run.id, source=CompletionSource.POLICY)
    assert scored
    assert all(completion.reward is not None for completion in scored)


def test_it_judges(world: World, rewarded: Run) -> None:
    checkpoint = reward_model(world, rewarded)
    judge = world.add_judge(
        {"kind": "reward_model", "family": "bert", "checkpoint": checkpoint.id, "batch_size": 4},
        checkpoint=checkpoint.id,
    )
    run_id = world.add_run(
        RECIPE | {"stop_after": "judge"},
        rewarded.prompt_set_id,
        judge=judge,
        reuse={StageKind.SAMPLE: rewarded.id},
    )
    run = world.drive(run_id)
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
    verdicts = world.rows(Verdict, run.id)
    assert verdicts
    assert Answer.INVALID not in {verdict.answer for verdict in verdicts}
