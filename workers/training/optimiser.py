"""AdamW with its schedule: one step at a time, and everything in it as tensors, so that a training goes on exactly."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_layers import GradientCheckpointingLayer

from app.rlaif.training import Precision
from workers.training.contracts import NonFiniteLoss, Optimisation

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def learning_rate_at(step: int, total: int, config: Optimisation) -> float:
    """The rate of optimiser step `step` (from 0): linear warm-up that starts above zero, then linear decay to zero."""
    warmup = math.ceil(total * config.warmup_ratio)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    return config.learning_rate * (1 - done)


def autocast(device: torch.device, precision: Precision = Precision.AUTO) -> torch.autocast:
    """bfloat16 matrix products where asked for; by itself on CUDA, not on the CPU, where most emulate it slowly."""
    is_half = device.type == "cuda" if precision is Precision.AUTO else precision is Precision.BFLOAT16
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=is_half)


@contextmanager
def recomputed_activations(model: Any) -> Iterator[None]:
    """Layers keep their input alone and are computed again for the gradient; dropout stays off."""
    model.activation_checkpointing_enable()
    for module in model.modules():
        module.training = isinstance(module, GradientCheckpointingLayer)
    try:
        yield
    finally:
        model.activation_checkpointing_disable()
        model.eval()


def require_finite(quantity: str, value: float, step: int) -> None:
    """Raises `NonFiniteLoss`."""
    if not math.isfinite(value):
        raise NonFiniteLoss(quantity, value, step)


@dataclass(frozen=True)
class Applied:
    """One step: the gradient's norm before it was clipped, and the learning rate."""

    grad_norm: float
    learning_rate: float


class Optimiser:
    """Moves the weights of one model. `name` tells its tensors from another optimiser's in the same state."""

    def __init__(self, model: Any, config: Optimisation, *, total_steps: int, name: str = "") -> None:
        self._model = model
        self._config = config
        self._total_steps = total_steps
        self._name = name
        self._adamw = _adamw(model, config)

    def apply(self, step: int) -> Applied:
        """Clip and apply the gradient that has gathered, and forget it. Raises `NonFiniteLoss`."""
        norm = self._clip()
        require_finite("gradient norm", norm, step)
        rate = self.set_rate(step)
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        return Applied(norm, rate)

    def set_rate(self, step: int) -> float:
        """The learning rate of step `step`, from now on."""
        rate = learning_rate_at(step, self._total_steps, self._config)
        for group in self._adamw.param_groups:
            group["lr"] = rate
        return rate

    def _clip(self) -> float:
        """The norm of the whole gradient, before it is clipped."""
        return float(torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._config.max_grad_norm))

    def _trained(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, parameter) for name, parameter in self._model.named_parameters() if parameter.requires_grad]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights that are trained and their moments, by name."""
        found: dict[str, torch.Tensor] = {}
        for name, parameter in self._trained():
            found[f"{self._name}model.{name}"] = parameter
            for key, value in self._adamw.state[parameter].items():
                found[f"{self._name}optimiser.{key}.{name}"] = value
        return found

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Weights and moments as `tensors` gave them."""
        for name, parameter in self._trained():
            parameter.copy_(self._like(tensors[f"{self._name}model.{name}"], parameter))
            saved = {key: tensors[f"{self._name}optimiser.{key}.{name}"] for key in MOMENTS}
            self._adamw.state[parameter] = {
                key: value.to(parameter.device) if key == "step" else self._like(value, parameter)
                for key, value in saved.items()
            }

    def _like(self, value: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        """A whole `value` as `part` is held."""
        return value.to(part.device)


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """The state of the generators that training on `device` draws from."""
    cpu = {"rng.cpu": torch.get_rng_state()}
    return cpu | {"rng.cuda": torch.cuda.get_rng_state()} if device.type == "cuda" else cpu


def restore_random_state(tensors: Mapping[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors["rng.cuda"])


def _adamw(model: Any, config: Optimisation) -> torch.optim.AdamW:
    """AdamW that decays matrices only, as biases and norms have no scale to lose (one fused kernel a step)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, fused=True)
