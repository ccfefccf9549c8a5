"""Optimises the policy on its own answers, rewarded by the run's reward model, by its judge, or by both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.db.models import CheckpointKind, Split
from app.repositories.checkpoints import latest_checkpoint
from app.rlaif.online_policy import OnlinePolicyConfig
from app.rlaif.recipe import StageKind
from workers.stages.contract import StageContext, StageRefused
from workers.stages.held_out import held_out
from workers.stages.inputs import StageInputs, all_prompts
from workers.stages.judge_reward import judge_reward
from workers.stages.publish import Trained
from workers.stages.training import OUTPUT, optimisation, trained
from workers.stages.weights import model_directory

if TYPE_CHECKING:
    from workers.training.rewards import Reward
    from workers.training.rollout_engines import RolloutEngine
    from workers.training.rollouts import TrainPrompt


def learn(context: StageContext, inputs: StageInputs, recipe: OnlinePolicyConfig) -> Trained:
    """Train on the policy's own answers, or go on from the state that an earlier holder saved."""
    from workers.training.online import train_online  # torch
    from workers.training.online_config import OnlineConfig

    reward_model = _reward_model(context, inputs)
    config = OnlineConfig(
        model_dir=model_directory(context, inputs.start_model().storage_key),
        **optimisation(context, recipe, leaving_out=("reward",)),
    )
    directory = context.scratch() / OUTPUT
    engine = _engine(context, config.model_dir)
    result = trained(
        lambda: train_online(
            config,
            _prompts(context, inputs),
            _reward(context, inputs, recipe, reward_model),
            directory,
            context.progress,
            critic_dir=None if context.work.recipe.reward_model.backbone else reward_model,  # of the policy's tokens
            held_out=held_out(context, inputs, recipe),
            engine=engine,
        ),
        directory,
    )
    metrics: dict[str, Any] = {
        **result.metrics,
        "train_prompts": result.prompts,
        "overlong_prompts": result.overlong_prompts,
        "rollouts": result.rollouts,
        "missing_rewards": result.missing_rewards,
        "stopped_at_kl": result.stopped_at_kl,
        "resumed_from": result.resumed_from,
        "rejected_states": list(result.rejected_states),
    }
    return Trained(CheckpointKind.POLICY, directory, result.steps, metrics, pairs=())


def _engine(context: StageContext, model_dir: Path) -> RolloutEngine | None:
    """Where the deployment says so, vLLM draws the rollouts. Raises StageRefused where that is not installed."""
    if context.settings.sampler == "transformers":
        return None
    from workers.sampling.vllm import EngineMissing  # torch
    from workers.training.rollout_engines import VLLMRollouts

    try:
        return VLLMRollouts(model_dir)
    except EngineMissing as error:
        raise StageRefused("engine_missing", str(error)) from error


def _prompts(context: StageContext, inputs: StageInputs) -> list[TrainPrompt]:
    from workers.training.rollouts import TrainPrompt

    return [
        TrainPrompt(prompt.external_id, prompt.messages, prompt.tools)
        for block in all_prompts(context, inputs.run.prompt_set_id, split=Split.TRAIN)
        for prompt in block
    ]


def _reward(
    context: StageContext, inputs: StageInputs, recipe: OnlinePolicyConfig, reward_model: Path | None
) -> Reward:
    """Raises StageRefused when the recipe rewards by a model that the run has not trained."""
    from workers.training.rewards import RewardModelReward, WeightedReward

    parts: dict[str, tuple[Reward, float]] = {}
    if recipe.reward.reward_model:
        if reward_model is None:
            raise StageRefused(
                "no_reward_model",
                "policy.reward.reward_model has a weight, and the run has no reward model: set it to 0 and "
                "policy.reward.judge above 0, or fork from a run that trained one",
            )
        parts["reward_model"] = (
            RewardModelReward(
                reward_model,
                batch_size=recipe.batch_size,
                rereads=context.work.recipe.reward_model.backbone is not None,
            ),
            recipe.reward.reward_model,
        )
    if recipe.reward.judge:
        parts["judge"] = judge_reward(context, inputs), recipe.reward.judge
    return WeightedReward(parts)


def _reward_model(context: StageContext, inputs: StageInputs) -> Path | None:
    with context.read() as session:
        found = latest_checkpoint(
            session,
            inputs.behind[StageKind.REWARD_MODEL],
            round_=context.work.round,
            kind=CheckpointKind.REWARD_MODEL,
        )
    return None if found is None else model_directory(context, found.storage_key)
