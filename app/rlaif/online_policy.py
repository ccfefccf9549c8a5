"""How a policy is trained on its own answers: the part of a recipe that online methods read."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.rlaif.health import OnlineHealth
from app.rlaif.online_method import METHOD_SETTINGS, MethodSettings, OnlineMethod
from app.rlaif.training import LearningRate, TrainingConfig, with_learning_rate

Positive = Annotated[float, Field(strict=True, gt=0, le=100, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False)]
Divergence = Annotated[float, Field(strict=True, gt=0, le=1e6, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1, le=4096)]

_DEFAULTED = tuple(field.name for field in fields(MethodSettings))
_OWN = ("clip", "scale_rewards", "preference_scale", "value_weight", "clip_values", "gamma", "gae_decay")


class RewardWeights(BaseModel):
    """What an answer is rewarded by: the weighted sum. Where one of them is missing, so is the reward."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reward_model: NotNegative = Field(1.0, description="Weight of the run's reward model")
    judge: NotNegative = Field(0.0, description="Weight of the run's training judge, asked about each answer: d-RLAIF")

    @model_validator(mode="after")
    def _rewards_something(self) -> Self:
        if not (self.reward_model or self.judge):
            raise ValueError("give reward_model or judge a weight above 0: nothing else rewards an answer")
        return self


class OnlinePolicyConfig(TrainingConfig):
    """How the policy is trained on its own answers. What is null, and the learning rate, depends on the method."""

    method: OnlineMethod
    reward: RewardWeights = RewardWeights()
    learning_rate: LearningRate = Field(1e-6, description="5e-7 for `online_dpo`, 3e-7 for `ppo`; 1e-5 with `lora`")
    epochs: Annotated[int, Field(strict=True, ge=1, le=100)] = Field(
        1, description="How often the answers of one step are learned from; 4 for `ppo`"
    )
    steps: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 200
    prompts_per_step: Count = 8
    completions: Annotated[int, Field(strict=True, ge=1, le=64)] = Field(
        8, description="Answers to each prompt; 2 for `online_dpo`, 1 for `ppo`"
    )
    batch_size: Count = Field(8, description="Prompts in one forward pass, with all their answers")
    minibatches: Count = Field(1, description="Optimiser steps into which one pass over a step's answers is cut")
    max_new_tokens: Annotated[int, Field(strict=True, ge=1, le=32_768)] = 512
    temperature: Annotated[float, Field(strict=True, gt=0, le=5)] = 1.0
    beta: NotNegative = Field(0.04, description="Weight of the divergence from the base model")
    target_kl: Divergence | None = Field(None, description="Nats a completion to which beta is steered")
    max_kl: Divergence | None = Field(None, description="Nats a completion beyond which training ends early")
    missing_eos_penalty: NotNegative = Field(0.0, description="Taken off the reward of an answer that did not end")
    mask_truncated: Annotated[bool, Field(strict=True)] = Field(
        False, description="Answers that did not end are not learned from"
    )
    clip: Annotated[float, Field(strict=True, gt=0, lt=1)] | None = Field(
        None, description="How far a ratio of probabilities may move: `grpo`, `rloo`, `ppo` (0.2)"
    )
    scale_rewards: Annotated[bool, Field(strict=True)] | None = Field(
        None, description="Divide by the group's standard deviation: `grpo` (true)"
    )
    preference_scale: Positive | None = Field(
        None, description="P(better) = sigmoid(scale * difference in reward): `online_dpo` (1)"
    )
    value_weight: Positive | None = Field(None, description="Weight of the critic's loss: `ppo` (0.1)")
    clip_values: Positive | None = Field(None, description="How far a value may move: `ppo` (0.2)")
    gamma: Annotated[float, Field(strict=True, gt=0, le=1)] | None = Field(
        None, description="Discount of what comes a token later: `ppo` (1)"
    )
    gae_decay: Annotated[float, Field(strict=True, ge=0, le=1)] | None = Field(
        None, description="Lambda of the generalised advantages: `ppo` (0.95)"
    )
    critic_learning_rate: LearningRate | None = Field(None, description="`ppo` (ten times the policy's)")

    health: OnlineHealth = OnlineHealth()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_method(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("method") not in tuple(OnlineMethod):
            return given
        settings = METHOD_SETTINGS[OnlineMethod(given["method"])]
        given = with_learning_rate(given, 1e-5)
        absent = {name for name in _DEFAULTED if given.get(name) is None}
        return given | {name: getattr(settings, name) for name in absent}

    @model_validator(mode="after")
    def _method_reads_what_is_set(self) -> Self:
        for name in (*_OWN, "critic_learning_rate"):
            readers = [method for method, settings in METHOD_SETTINGS.items() if getattr(settings, name) is not None]
            if getattr(self, name) is not None and self.method not in readers:
                raise ValueError(f"{name} is not read by {self.method}; leave it out, or use {' or '.join(readers)}")
        return self

    @model_validator(mode="after")
    def _steps_can_be_cut(self) -> Self:
        if self.completions < 2 and self.method is not OnlineMethod.PPO:
            raise ValueError(f"{self.method} compares the answers to a prompt: completions must be at least 2")
        if self.minibatches > self.prompts_per_step:
            raise ValueError(f"minibatches {self.minibatches} is above prompts_per_step {self.prompts_per_step}")
        if self.max_new_tokens >= self.max_length:
            raise ValueError(
                f"max_new_tokens {self.max_new_tokens} leaves no room for a prompt in max_length {self.max_length}"
            )
        return self
