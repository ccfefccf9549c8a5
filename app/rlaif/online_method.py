"""The methods that learn from what the policy answers as it trains, and what each of them reads."""

from __future__ import annotations

from enum import StrEnum


class OnlineMethod(StrEnum):
    """`docs/training.md` says when to use which."""

    ONLINE_DPO = "online_dpo"
    GRPO = "grpo"
    RLOO = "rloo"
    PPO = "ppo"
