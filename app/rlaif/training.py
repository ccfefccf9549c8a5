"""How reward models and policies are trained: the part of a recipe that trainers read."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.rlaif.health import HealthConfig, PreferenceHealth, RewardHealth
from app.rlaif.preference_loss import LOSS_SETTINGS, PreferenceLoss

LearningRate = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]


class Precision(StrEnum):
    """Of the matrix products in training."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LoraConfig(_Part):
    """Low-rank adapters on every linear layer but the head (Hu et al., arXiv 2106.09685), merged when published."""

    rank: Annotated[int, Field(strict=True, ge=1, le=1024)] = 16
    alpha: Annotated[int, Field(strict=True, ge=1, le=4096)] = Field(
        32, description="The adapters' output is scaled by alpha / rank"
    )
    quantization: Literal["nf4"] | None = Field(
        None,
        description="`nf4` keeps the base weights in four bits while adapters are trained (QLoRA, arXiv 2305.14314); "
        "needs the workers' extra `quantization`",
    )


class TrainingConfig(_Part):
    """What every training is told of optimisation."""

    epochs: Annotated[int, Field(strict=True, ge=1, le=100)] = 2
    max_length: Annotated[int, Field(strict=True, ge=16, le=131_072)] = 1024
    warmup_ratio: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.1
    weight_decay: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.0
    max_grad_norm: Annotated[float, Field(strict=True, gt=0, le=1000)] = 1.0
    lora: LoraConfig | None = Field(
        None, description="Trains adapters instead of all weights; the learning rate then defaults to what suits them"
    )
    precision: Precision = Field(
        Precision.AUTO, description="Of matrix products; weights and optimiser are float32. `auto`: bfloat16 on a GPU"
    )
    gradient_checkpointing: Annotated[bool, Field(strict=True)] = Field(
        False,
        description="Keeps one activation a layer and computes the others again: less memory, a fifth more time",
    )
    save_steps: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 50
    health: HealthConfig = HealthConfig()


class RewardModelConfig(TrainingConfig):
    """How the reward model is trained."""

    backbone: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None,
        description="Id of the registered model that it starts from, an encoder too; null: what the policy starts from",
    )
    learning_rate: LearningRate = Field(3e-6, description="1e-4 with `lora`")
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = 32
    gradient_accumulation_steps: Annotated[int, Field(strict=True, ge=1, le=1024)] = 1
    centering: Annotated[float, Field(strict=True, ge=0, le=10)] = 0.01
    margin: Annotated[float, Field(strict=True, ge=0, le=100)] = Field(
        0.0, description="Lead in reward that a certain preference asks for, scaled by |2p - 1|"
    )
    members: Annotated[int, Field(strict=True, ge=1, le=16)] = Field(
        1, description="Models trained from as many seeds, whose mean is the reward; their disagreement is measured"
    )

    health: RewardHealth = RewardHealth()

    @model_validator(mode="before")
    @classmethod
    def _learning_rate_of_adapters(cls, given: Any) -> Any:
        return with_learning_rate(given, 1e-4)


class PolicyConfig(TrainingConfig):
    """How the policy is trained on preferences. `beta` and what follows it default to what suits the loss."""

    method: Literal["dpo"] = "dpo"
    loss: PreferenceLoss = Field(
        PreferenceLoss.SIGMOID, description="`sigmoid` is DPO; docs/training.md says when to use which"
    )
    learning_rate: LearningRate = Field(1e-6, description="1e-5 with `lora`")
    beta: Annotated[float, Field(strict=True, gt=0, le=100)] = Field(
        0.1,
        description="Scale of the implicit reward; 5 for `sigmoid_norm`, 2 for `simpo`; in `orpo` the loss's weight",
    )
    sft_weight: Annotated[float, Field(strict=True, ge=0, le=100)] = Field(
        0.5, description="Weight of the log-likelihood of the better completion; 0 is the plain loss; 1 for `orpo`"
    )
    gamma: Annotated[float, Field(strict=True, ge=0, le=100)] | None = Field(
        None, description="Margin by which the better completion is to lead: `simpo` alone, where it is 1"
    )
    label_smoothing: Annotated[float, Field(strict=True, ge=0, lt=0.5)] | None = Field(
        None, description="Share of labels believed wrong: `sigmoid` (0) and `robust` (0.1)"
    )
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = 16
    gradient_accumulation_steps: Annotated[int, Field(strict=True, ge=1, le=1024)] = 1

    health: PreferenceHealth = PreferenceHealth()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_loss(cls, given: Any) -> Any:
        loss = given.get("loss", PreferenceLoss.SIGMOID) if isinstance(given, dict) else None
        if loss not in tuple(PreferenceLoss):
            return given
        settings = LOSS_SETTINGS[PreferenceLoss(loss)]
        absent = {name for name in ("beta", "sft_weight") if name not in given}
        absent |= {name for name in ("gamma", "label_smoothing") if given.get(name) is None}
        return with_learning_rate(given | {name: getattr(settings, name) for name in absent}, 1e-5)

    @model_validator(mode="after")
    def _loss_reads_what_is_set(self) -> Self:
        for name in ("gamma", "label_smoothing"):
            if getattr(self, name) is not None and getattr(LOSS_SETTINGS[self.loss], name) is None:
                readers = [loss for loss, settings in LOSS_SETTINGS.items() if getattr(settings, name) is not None]
                raise ValueError(
                    f"{name} is not read by the loss {self.loss}; leave it out, or use {' or '.join(readers)}"
                )
        if self.loss is PreferenceLoss.KTO and self.batch_size < 2:
            raise ValueError("the loss kto compares with the other prompts of a batch; batch_size must be at least 2")
        return self


def with_learning_rate(given: Any, of_adapters: float) -> Any:
    """Settings with the learning rate that adapters want, where they are trained and none is given."""
    if not isinstance(given, dict) or given.get("lora") is None or "learning_rate" in given:
        return given
    return given | {"learning_rate": of_adapters}
