"""Who draws the rollouts of a policy in training: its own decode loop, or vLLM with its weights of this step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import torch

from workers.sampling.language_model import LanguageModel
from workers.sampling.sampler import Engine
from workers.sampling.transformers import TransformersEngine
from workers.sampling.vllm import ROLLOUT_MEMORY, VLLMEngine

_ADAPTER_PARTS = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B", "lora_magnitude_vector")


class RolloutEngine(Engine, Protocol):
    """What draws tokens with weights that change."""

    def refresh(self, policy: LanguageModel) -> None:
        """Draw with the policy's weights as they are now."""
        ...


class OwnRollouts(TransformersEngine):
    """The policy itself decodes."""

    def refresh(self, policy: LanguageModel) -> None:
        """Its weights are always those of now."""


class VLLMRollouts(VLLMEngine):
    """vLLM on the policy's GPU, given its weights before each step's rollouts."""

    def __init__(self, model_dir: Path) -> None:
        super().__init__(model_dir, memory=ROLLOUT_MEMORY)

    def refresh(self, policy: LanguageModel) -> None:
        self.load(policy_weights(policy.model))


@torch.no_grad()
def policy_weights(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights by their names in a checkpoint, adapters added in; the model is left as it is."""
    for name, tensor in model.named_parameters():
        parts = name.removeprefix("base_model.model.").split(".")
        if any(part in _ADAPTER_PARTS for part in parts):
            continue
        if "base_layer" not in parts:
            yield ".".join(parts), tensor.detach()
            continue
        layer = model.get_submodule(name[: name.index(".base_layer.")])
        merged = tensor.detach()
        if parts[-1] == "weight":
            for adapter in layer.active_adapters:
                merged = merged + layer.get_delta_weight(adapter).to(merged.dtype)
        yield ".".join(part for part in parts if part != "base_layer"), merged
