"""How the base model is taught by examples before anything is judged: the part of a recipe that `warm_start` reads."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from app.rlaif.training import LearningRate, TrainingConfig


class WarmStartMethod(StrEnum):
    """`sft` learns the prompts' own reference answers; `constitutional` learns the base model's revised answers."""

    SFT = "sft"
    CONSTITUTIONAL = "constitutional"


class WarmStartConfig(TrainingConfig):
    """Supervised training from the base model; what it publishes is where the first round starts from."""

    method: WarmStartMethod = WarmStartMethod.SFT
    learning_rate: LearningRate = Field(1e-5, description="1e-4 with `lora`")
