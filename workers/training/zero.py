"""The optimiser of a model that DeepSpeed's ZeRO partitions (arXiv 1910.02054): it steps in the last backward pass.

Everything by which a state is read and set again is DeepSpeed's own API for whole parameters, so that a state is the
same whatever wrote it. Tried on CPUs with stages 1 to 3; deepspeed is no dependency, and is looked for when asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from workers.training import ranks
from workers.training.accelerated import AcceleratedOptimiser, Objective
from workers.training.contracts import ProcessesRefused
from workers.training.optimiser import MOMENTS, Applied, require_finite


class ZeroOptimiser(AcceleratedOptimiser):
    """Each rank holds a part of the moments (stage 1), of the gradients (2) and of the weights (3)."""

    @property
    def is_sharded(self) -> bool:
        return True

    def prepare(self, objective: Objective) -> Any:
        """What the recipe says is not left to DeepSpeed's configuration, and the next model is loaded whole.

        Raises `ProcessesRefused`.
        """
        from transformers.integrations.deepspeed import unset_hf_deepspeed_config

        settings = self._accelerator.state.deepspeed_plugin.deepspeed_config
        _require_no_offload(settings["zero_optimization"])
        settings["train_micro_batch_size_per_gpu"] = 1  # it only scales what is logged
        settings["gradient_accumulation_steps"] = 1
        settings["gradient_clipping"] = self._config.max_grad_norm
        prepared = super().prepare(objective)
        unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]
        return prepared

    def backward(self, loss: torch.Tensor, *, is_last: bool) -> None:
        self._accelerator.deepspeed_engine_wrapped.backward(loss, sync_gradients=is_last)

    def apply(self, step: int) -> Applied:
        """The weights have moved already; a gradient that is not finite ends the training before they are saved."""
        norm = float(self._accelerator.deepspeed_engine_wrapped.get_global_grad_norm())
        require_finite("gradient norm", norm, step)
        return Applied(norm, self.set_rate(step))

    def whole(self, parameter: torch.Tensor) -> torch.Tensor:
        from deepspeed.runtime.zero import GatheredParameters
        from deepspeed.utils import safe_get_full_fp32_param

        master: torch.Tensor | None = safe_get_full_fp32_param(parameter)
        if master is not None:
            return master.detach()
        with GatheredParameters([parameter]):  # a frozen one has no master copy
            return parameter.detach().clone()

    def tensors(self) -> dict[str, torch.Tensor]:
        from deepspeed.utils import safe_get_full_optimizer_state

        self._link()
        found: dict[str, torch.Tensor] = {}
        for name, parameter in self._trained():
            values = {f"model.{name}": self.whole(parameter), f"optimiser.step.{name}": self._steps()}
            for key in MOMENTS[1:]:
                values[f"optimiser.{key}.{name}"] = safe_get_full_optimizer_state(parameter, key)
            if ranks.is_first():
                found |= {self._name + key: value.to("cpu", copy=True) for key, value in values.items()}
        return found

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        from deepspeed.runtime.zero import GatheredParameters
        from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

        self._make_room(tensors)
        for name, parameter in self._trained():
            value = tensors[f"{self._name}model.{name}"].to(parameter.device)
            with GatheredParameters([parameter], modifier_rank=0):
                parameter.copy_(value)
            safe_set_full_fp32_param(parameter, value)
            for key in MOMENTS[1:]:
                moment = tensors[f"{self._name}optimiser.{key}.{name}"].to(parameter.device)
                safe_set_full_optimizer_state(parameter, moment, key)

    def _steps(self) -> torch.Tensor:
        """How many have been taken; the same for all weights."""
        return torch.as_tensor(next(iter(self._flat().state.values()))["step"], dtype=torch.float32)

    def _flat(self) -> torch.optim.Optimizer:
        """AdamW as DeepSpeed calls it, over flattened parts of the weights."""
        found: torch.optim.Optimizer = self._zero.optimizer
        return found

    @property
    def _zero(self) -> Any:
        """DeepSpeed's own optimiser, which partitions."""
        wrapped: Any = self._adamw
        return wrapped.optimizer

    def _make_room(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Moments exist from the first step on, and a restored training needs them before it."""
        steps = next(value for name, value in tensors.items() if name.startswith(f"{self._name}optimiser.step."))
        flat, zero = self._flat(), self._zero
        stages = ("fp32_partitioned_groups_flat", "single_partition_of_fp32_groups")  # 3, and 1 and 2
        for part in next(getattr(zero, name) for name in stages if hasattr(zero, name)):
            flat.state[part] = {"step": steps.to(part.device, copy=True)} | {
                key: torch.zeros_like(part) for key in MOMENTS[1:]
            }
        self._link()

    def _link(self) -> None:
        """Stages 1 and 2 look up the moments when the first group of weights has taken its first step, and so miss
        those of the others (deepspeed 0.19.8)."""
        zero = self._zero
        if hasattr(zero, "_lazy_init_hp_params_optimizer_state"):
            zero._hp_optimizer_states_linked = False
            zero._lazy_init_hp_params_optimizer_state()


def _require_no_offload(settings: Mapping[str, Any]) -> None:
    """Its optimiser for main memory keeps other states than AdamW. Raises `ProcessesRefused`."""
    for part in ("offload_optimizer", "offload_param"):
        if settings.get(part, {}).get("device", "none") != "none":
            raise ProcessesRefused(
                f"RLAIF_ACCELERATE_CONFIG: deepspeed's {part} is not supported; take more processes, or lora, and set "
                f"{part}_device: none"
            )
