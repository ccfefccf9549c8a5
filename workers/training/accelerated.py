"""A model that several ranks train together, spread by accelerate as its configuration says: whole on each (DDP),
sharded by FSDP2, or partitioned by DeepSpeed's ZeRO.

Between `AcceleratedLearner.finish` and the next training every rank has the whole model again.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor, distribute_tensor

from workers.training import ranks
from workers.training.contracts import Optimisation, ProcessesRefused
from workers.training.figures import Mean
from workers.training.learner import BatchLoss, Learner, LossOf, Share
from workers.training.optimiser import Optimiser, autocast
from workers.training.quantization import is_quantized

ItemT = TypeVar("ItemT")

_SETTLED = {
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",  # every rank reads the whole model: it computes the reference with it
    "FSDP_ACTIVATION_CHECKPOINTING": "false",  # the recipe's `gradient_checkpointing` says so
    "ACCELERATE_DEEPSPEED_ZERO3_INIT": "false",  # likewise
    "ACCELERATE_MIXED_PRECISION": "no",  # the recipe's `precision` says so
}
"""What is not left to accelerate's configuration."""


class Objective(torch.nn.Module):
    """The loss of a batch as one module's forward pass, so that what spreads the model sees every use of it inside."""

    def __init__(self, model: Any, loss_of: LossOf[Any]) -> None:
        super().__init__()
        self.model = model
        self.config = model.config
        self._loss_of = loss_of
        self._no_split_modules = model._no_split_modules  # what FSDP2 shards by

    def forward(self, items: Sequence[Any]) -> tuple[torch.Tensor, Mapping[str, Mean]]:
        result = self._loss_of(items)
        return result.loss, result.metrics


class AcceleratedLearner(Learner[ItemT]):
    """Every rank gathers the gradient of its own items; together they take one step."""

    _optimiser: AcceleratedOptimiser

    def __init__(self, model: Any, loss_of: LossOf[ItemT], config: Optimisation, *, total_steps: int) -> None:
        accelerator = Accelerator()
        optimiser = _kind(accelerator)(model, config, accelerator, total_steps=total_steps)
        super().__init__(model, loss_of, optimiser, precision=config.precision)
        self._accelerator = accelerator
        if optimiser.is_sharded and is_quantized(model):
            raise ProcessesRefused(
                "RLAIF_ACCELERATE_CONFIG shards a model, and four-bit weights cannot be: train without "
                "lora.quantization, or on workers where it is unset"
            )
        self._skeleton = _skeleton(model) if optimiser.is_sharded else None
        self._objective = optimiser.prepare(Objective(model, loss_of))

    def gather(self, step: int, shares: Sequence[Share[ItemT]]) -> list[BatchLoss]:
        self._optimiser.set_rate(step)
        last = len(shares) - 1
        return [self._learn_together(each, is_last=at == last) for at, each in enumerate(shares)]

    def _learn_together(self, share: Share[ItemT], *, is_last: bool) -> BatchLoss:
        """The gradients of all ranks are averaged with the last share; the loss is scaled so that they add up."""
        with self._apart(is_last=is_last):
            with autocast(self._model.device, self._precision):
                loss, metrics = self._objective(share.items)
            self._optimiser.backward(loss * (share.share * ranks.count()), is_last=is_last)
        return BatchLoss(loss, metrics)

    def _apart(self, *, is_last: bool) -> AbstractContextManager[None]:
        if is_last:
            return nullcontext()
        apart: AbstractContextManager[None] = self._accelerator.no_sync(self._objective)
        return apart

    def finish(self) -> None:
        if self._skeleton is not None:
            weights = {name: self._optimiser.whole(each) for name, each in self._model.named_parameters()}
            _fill(self._skeleton, weights)
            _become(self._model, self._skeleton)
        self._accelerator.free_memory()


class AcceleratedOptimiser(Optimiser):
    """The same steps on weights of which a rank may hold a part."""

    def __init__(self, model: Any, config: Optimisation, accelerator: Accelerator, *, total_steps: int) -> None:
        super().__init__(model, config, total_steps=total_steps)
        self._accelerator = accelerator

    @property
    def is_sharded(self) -> bool:
        """Whether the model's weights, once prepared, are others than it was given."""
        return self._accelerator.distributed_type is DistributedType.FSDP

    def prepare(self, objective: Objective) -> Any:
        """The objective as it is called from now on; its parameters may be others now."""
        prepared, self._adamw = self._accelerator.prepare(objective, self._adamw)
        return prepared

    def backward(self, loss: torch.Tensor, *, is_last: bool) -> None:
        """Add to the gradient; with the last of a step it is complete."""
        self._accelerator.backward(loss)

    def _clip(self) -> float:
        norm = self._accelerator.clip_grad_norm_(self._model.parameters(), self._config.max_grad_norm)
        return float(self.whole(norm))

    def tensors(self) -> dict[str, torch.Tensor]:
        """Whole, on the first rank; the others take part and keep nothing."""
        found = {}
        for name, part in super().tensors().items():
            value = self.whole(part)
            if ranks.is_first():
                found[name] = value.cpu()
        return found

    def whole(self, part: torch.Tensor) -> torch.Tensor:
        """On every rank, what all of them have parts of."""
        part = part.detach()
        return part.full_tensor() if isinstance(part, DTensor) else part

    def _like(self, value: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        if not isinstance(part, DTensor):
            return value.to(part.device)
        return distribute_tensor(value.to(part.device), part.device_mesh, part.placements, src_data_rank=None)


def _kind(accelerator: Accelerator) -> type[AcceleratedOptimiser]:
    if accelerator.distributed_type is not DistributedType.DEEPSPEED:
        return AcceleratedOptimiser
    from workers.training.zero import ZeroOptimiser

    return ZeroOptimiser


def _skeleton(model: Any) -> Any:
    """The model as it is before it is sharded, with empty weights in it: sharding cannot be undone in place."""
    empty = {
        id(parameter): torch.nn.Parameter(parameter.new_empty(0), requires_grad=parameter.requires_grad)
        for parameter in model.parameters()
    }
    return copy.deepcopy(model, empty)


def _fill(skeleton: Any, weights: Mapping[str, torch.Tensor]) -> None:
    for name, parameter in skeleton.named_parameters():
        parameter.data = weights[name].to(parameter.dtype)


def _become(model: Any, other: Any) -> None:
    """The object that everybody holds takes the other's class, modules and weights."""
    model.__class__ = type(other)
    model.__dict__ = other.__dict__


def join() -> torch.device:
    """Become one of the ranks that a launcher started, by the environment that it set; the device of this one.

    accelerate takes FSDP and DeepSpeed on accelerators alone, although gloo can do it, and that is how a CPU tries it.
    """
    os.environ |= _SETTLED
    cpu = not torch.cuda.is_available()
    state = PartialState(cpu=cpu)
    if cpu and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        state.distributed_type = DistributedType.MULTI_GPU
    if cpu and os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        state.distributed_type = DistributedType.DEEPSPEED
    return torch.device(state.device)
