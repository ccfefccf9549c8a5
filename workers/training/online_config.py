"""The settings of an online training, and the objective that they name."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from app.rlaif.health import OnlineHealth
from app.rlaif.online_method import OnlineMethod
from workers.training.contracts import Optimisation
from workers.training.online_objectives import GRPO, PPO, RLOO, Objective, OnlineDPO


@dataclass(frozen=True, kw_only=True)
class OnlineConfig(Optimisation):
    """`batch_size` counts prompts in one forward pass, `epochs` how often a step's rollouts are learned from.

    `beta` weighs the divergence from the reference; with `target_kl` (nats a completion) it moves. Beyond `max_kl`
    training stops and says so. `missing_eos_penalty` is taken off the reward of an answer that did not end;
    `mask_truncated` leaves such answers out of the loss instead. The settings below that line belong to one method.
    """

    method: OnlineMethod
    steps: int
    prompts_per_step: int
    completions: int
    max_new_tokens: int
    minibatches: int = 1
    temperature: float = 1.0
    beta: float = 0.05
    target_kl: float | None = None
    max_kl: float | None = None
    missing_eos_penalty: float = 0.0
    mask_truncated: bool = False

    clip: float | None = 0.2
    scale_rewards: bool | None = True
    preference_scale: float | None = 1.0
    value_weight: float | None = 0.1
    clip_values: float | None = 0.2
    gamma: float | None = 1.0
    gae_decay: float | None = 0.95
    critic_learning_rate: float | None = None
    health: OnlineHealth = field(default_factory=OnlineHealth)

    def objective(self) -> Objective:
        """Raises ValueError for a setting that the method needs and that is None."""
        need = partial(_needed, self)
        match self.method:
            case OnlineMethod.GRPO:
                return GRPO(need("clip"), bool(need("scale_rewards")))
            case OnlineMethod.RLOO:
                return RLOO(need("clip"))
            case OnlineMethod.PPO:
                clip, clip_values, value_weight = need("clip"), need("clip_values"), need("value_weight")
                return PPO(clip, clip_values, value_weight, gamma=need("gamma"), decay=need("gae_decay"))
            case OnlineMethod.ONLINE_DPO:
                return OnlineDPO(need("preference_scale"))


def _needed(config: OnlineConfig, name: str) -> float:
    value: float | None = getattr(config, name)
    if value is None:
        raise ValueError(f"{config.method} needs {name}")
    return value
