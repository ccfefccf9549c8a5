"""Online methods: the policy answers, is rewarded and moves, step by step, held near the reference that it began as.

A step draws `completions` answers to each of `prompts_per_step` prompts, asks for their rewards, and takes `epochs` x
`minibatches` optimiser steps on them. Everything follows from the seed, so a step that a kill interrupted is done again
as it was, provided that the reward says the same again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.sampling.decoding import Drawing
from workers.training.checkpoint import load_policy, load_scalar_model, save_model
from workers.training.contracts import Progress
from workers.training.experience import TokenValues
from workers.training.looks import HeldOut, Looks
from workers.training.online_config import OnlineConfig
from workers.training.online_loop import OnlineLoop
from workers.training.pairs import within_window
from workers.training.rewards import Reward
from workers.training.rollout_engines import RolloutEngine
from workers.training.rollouts import RolloutSource, TrainPrompt


@dataclass(frozen=True)
class OnlineResult:
    """`metrics` are the last step's. `stopped_at_kl` is the divergence at which training ended early, if it did."""

    steps: int
    prompts: int
    overlong_prompts: int
    rollouts: int
    missing_rewards: int
    losses: tuple[float, ...]
    metrics: dict[str, float]
    stopped_at_kl: float | None
    resumed_from: int | None
    rejected_states: tuple[str, ...]


def train_online(
    config: OnlineConfig,
    prompts: Sequence[TrainPrompt],
    reward: Reward,
    out_dir: Path,
    progress: Progress,
    *,
    critic_dir: Path | None = None,
    held_out: HeldOut | None = None,
    engine: RolloutEngine | None = None,
) -> OnlineResult:
    """Train the model of `config.model_dir` on its own answers to `prompts` and write it to `out_dir`.

    `critic_dir` is what PPO's critic starts from, a reward model for choice; the policy's start where it is None. With
    `held_out` somebody else looks at the policy as it learns. `engine` draws the rollouts; None leaves that to the
    policy.
    `out_dir/.state` is what a later call with the same arguments resumes from. Raises `NoTrainingData`,
    `NonFiniteLoss`, `TrainingUnhealthy`, `RewardsMissing`, `TrainingStopped`, `StateMismatch`, and what `reward` and
    the judge of `held_out` raise.
    """
    policy = load_policy(config.model_dir, lora=config.lora)
    source = RolloutSource(
        policy,
        prompts,
        drawing=Drawing(config.temperature, 1.0, config.max_new_tokens, exact=False),
        completions=config.completions,
        prompts_per_step=config.prompts_per_step,
        max_length=within_window(config.max_length, policy.model),
        seed=config.seed,
        engine=engine,
    )
    critic = (
        load_scalar_model(critic_dir or config.model_dir, seed=config.seed)
        if config.objective().learns_values
        else None
    )
    loop = OnlineLoop(
        config,
        policy,
        source,
        reward,
        looks=None if held_out is None else Looks(config, policy, held_out),
        critic=None if critic is None else TokenValues(critic.model, shares_prompts=critic.shares_prompts),
        state_dir=out_dir / ".state",
        progress=progress,
    )
    latest, first = loop.run()
    loop.merge(out_dir)
    save_model(policy.model, policy.tokenizer, out_dir, base_dir=config.model_dir)
    return OnlineResult(
        steps=loop.done,
        prompts=source.prompts,
        overlong_prompts=source.overlong_prompts,
        rollouts=loop.counts["rollouts"],
        missing_rewards=loop.counts["missing_rewards"],
        losses=tuple(loop.losses),
        metrics=loop.metrics,
        stopped_at_kl=loop.stopped_at_kl,
        resumed_from=first or None,
        rejected_states=latest.rejected,
    )
