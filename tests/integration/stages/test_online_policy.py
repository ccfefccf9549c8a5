"""Policies trained on their own answers, through the real stages: rewarded by a model, a program, a real endpoint."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from app.db.models import Checkpoint, CheckpointKind, Evaluation, Run, RunStatus, Stage
from app.rlaif.evidence import EvaluationMetrics
from app.rlaif.online_method import OnlineMethod
from app.rlaif.recipe import StageKind
from tests.integration.stages.endpoint import RunningJudge
from tests.integration.stages.test_chain import RECIPE
from tests.integration.stages.world import World, example_prompts
from tests.scripted_judge import Script

TRAIN, HELD_OUT, STEPS, PROMPTS, ANSWERS = 12, 6, 2, 4, 2
ONLINE: dict[str, Any] = {
    "learning_rate": 1e-4,
    "steps": STEPS,
    "prompts_per_step": PROMPTS,
    "completions": ANSWERS,
    "max_new_tokens": 24,
    "max_length": 256,
}
BY_JUDGE = {"reward_model": 0.0, "judge": 1.0}
BEFORE = (StageKind.SAMPLE, StageKind.JUDGE, StageKind.PREFER, StageKind.REWARD_MODEL)


@pytest.fixture(scope="module")
def rewarded(world: World) -> Run:
    """A run that has a reward model, and no policy yet."""
    prompts = world.add_prompts(example_prompts(train=TRAIN, held_out=HELD_OUT))
    return world.drive(world.add_run(RECIPE | {"stop_after": "reward_model"}, prompts))


@pytest.fixture
def endpoint() -> Iterator[RunningJudge]:
    with RunningJudge() as running:
        yield running


def train(
    world: World, before: Run, method: str, *, judge: str | None = None, stop: str = "policy", **policy: Any
) -> Run:
    recipe = RECIPE | {"stop_after": stop, "policy": {"method": method, **ONLINE, **policy}}
    return world.drive(world.add_run(recipe, before.prompt_set_id, judge=judge, reuse=dict.fromkeys(BEFORE, before.id)))


def policy_stage(world: World, run: Run) -> Stage:
    return world.stage(run.id, StageKind.POLICY)


@pytest.mark.parametrize(
    ("method", "reward"),
    [
        (OnlineMethod.GRPO, {"reward_model": 1.0}),
        (OnlineMethod.RLOO, {"reward_model": 0.5, "judge": 2.0}),
        (OnlineMethod.PPO, {"reward_model": 1.0}),
        (OnlineMethod.ONLINE_DPO, {"reward_model": 0.0, "judge": 1.0}),
    ],
)
def test_each_method_leaves_a_checkpoint_and_its_evidence(
    world: World, rewarded: Run, method: OnlineMethod, reward: dict[str, float]
) -> None:
    run = train(world, rewarded, method, stop="evaluate", reward=reward)
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
    (checkpoint,) = world.rows(Checkpoint, run.id, kind=CheckpointKind.POLICY)
    assert world.store.verify(checkpoint.storage_key).digest == checkpoint.digest
    metrics = policy_stage(world, run).metrics
    assert (metrics["rollouts"], metrics["missing_rewards"]) == (STEPS * PROMPTS * ANSWERS, 0)
    assert {"reward", "kl", "completion_tokens", "distinct"} <= metrics.keys()
    (evaluation,) = world.rows(Evaluation, run.id)
    assert EvaluationMetrics.model_validate(evaluation.metrics).win_rate.n_prompts == HELD_OUT


class TestJudgeAsReward:
    def test_every_answer_is_rated_twice_and_paid_once(
        self, world: World, rewarded: Run, endpoint: RunningJudge
    ) -> None:
        judge = world.add_judge(endpoint.spec())
        run = train(world, rewarded, "grpo", judge=judge, reward=BY_JUDGE)
        stage, asked = policy_stage(world, run), STEPS * PROMPTS * ANSWERS * 2
        distinct = len({call["prompt_hash"] for call in endpoint.judge.calls})
        assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
        assert distinct <= stage.judge_calls <= asked
        assert stage.judge_usd > 0
        assert stage.metrics["missing_rewards"] == 0
        again = train(world, rewarded, "grpo", judge=judge, reward=BY_JUDGE)
        assert policy_stage(world, again).judge_calls == 0
        assert policy_stage(world, again).metrics["reward"] == stage.metrics["reward"]

    def test_answers_that_the_judge_will_not_rate_are_missing_and_no_zero(
        self, world: World, rewarded: Run, endpoint: RunningJudge
    ) -> None:
        endpoint.judge.script = Script(faults=deque(["refusal"]), repeat=True)
        judge = world.add_judge(endpoint.spec(model="refuses"))
        run = train(world, rewarded, "rloo", judge=judge, reward=BY_JUDGE, steps=4)
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error["code"] == "rewards_missing"

    def test_the_budget_holds(self, world: World, rewarded: Run, endpoint: RunningJudge) -> None:
        recipe = RECIPE | {
            "stop_after": "policy",
            "budget": {"judge_usd": 0.5},
            "policy": {"method": "grpo", **ONLINE, "reward": BY_JUDGE},
        }
        judge = world.add_judge(endpoint.spec(model="dear", usd_per_million_input_tokens=1e5))
        run = world.drive(
            world.add_run(recipe, rewarded.prompt_set_id, judge=judge, reuse=dict.fromkeys(BEFORE, rewarded.id))
        )
        assert run.status is RunStatus.PAUSED
        assert "USD are spent" in (run.pause_reason or "")


def test_without_a_reward_model_the_run_says_what_to_do(world: World, rewarded: Run) -> None:
    reuse = dict.fromkeys(BEFORE, rewarded.id)
    bare = world.add_run(
        RECIPE | {"stop_after": "prefer"}, rewarded.prompt_set_id, reuse=dict.fromkeys(BEFORE[:3], rewarded.id)
    )
    recipe = RECIPE | {"stop_after": "policy", "policy": {"method": "grpo", **ONLINE}}
    run = world.drive(
        world.add_run(recipe, rewarded.prompt_set_id, reuse=reuse | {StageKind.REWARD_MODEL: world.drive(bare).id})
    )
    assert run.error is not None
    assert run.error["code"] == "no_reward_model"
