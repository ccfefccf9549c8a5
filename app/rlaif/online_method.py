"""The methods that learn from what the policy answers as it trains, and what each of them reads."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class OnlineMethod(StrEnum):
    """`docs/training.md` says when to use which."""

    ONLINE_DPO = "online_dpo"
    GRPO = "grpo"
    RLOO = "rloo"
    PPO = "ppo"


@dataclass(frozen=True, slots=True)
class MethodSettings:
    """A method's defaults; None: the method has no such setting."""

    learning_rate: float
    completions: int
    beta: float
    epochs: int = 1
    missing_eos_penalty: float = 0.0
    mask_truncated: bool = False
    clip: float | None = 0.2
    scale_rewards: bool | None = None
    preference_scale: float | None = None
    value_weight: float | None = None
    clip_values: float | None = None
    gamma: float | None = None
    gae_decay: float | None = None
    critic_learning_rate: float | None = None


METHOD_SETTINGS = MappingProxyType(
    {
        OnlineMethod.ONLINE_DPO: MethodSettings(
            learning_rate=5e-7, completions=2, beta=0.1, missing_eos_penalty=1.0, clip=None, preference_scale=1.0
        ),
        OnlineMethod.GRPO: MethodSettings(
            learning_rate=1e-6, completions=8, beta=0.04, mask_truncated=True, scale_rewards=True
        ),
        OnlineMethod.RLOO: MethodSettings(learning_rate=1e-6, completions=8, beta=0.05, mask_truncated=True),
        OnlineMethod.PPO: MethodSettings(
            learning_rate=3e-7,
            completions=1,
            beta=0.05,
            epochs=4,
            missing_eos_penalty=1.0,
            value_weight=0.1,
            clip_values=0.2,
            gamma=1.0,
            gae_decay=0.95,
            critic_learning_rate=3e-6,
        ),
    }
)
"""Learning rates are of full fine-tuning; the sources are those of `workers.training.online_objectives`."""
