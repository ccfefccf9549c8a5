"""A model, its loss and its optimiser, in one process: what the loop asks of them, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from app.rlaif.training import Precision
from workers.training.figures import Mean
from workers.training.optimiser import Applied, Optimiser, autocast

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class BatchLoss:
    """The mean loss over a batch, and figures to report beside it."""

    loss: torch.Tensor
    metrics: Mapping[str, Mean]


LossOf = Callable[[Sequence[ItemT]], BatchLoss]


@dataclass(frozen=True)
class Share(Generic[ItemT]):
    """Items of one forward pass, and the share of the step's loss that theirs is."""

    items: Sequence[ItemT]
    share: float


class Learner(Generic[ItemT]):
    """Gathers the gradient of a step and applies it."""

    def __init__(self, model: Any, loss_of: LossOf[ItemT], optimiser: Optimiser, *, precision: Precision) -> None:
        self._model = model
        self._loss_of = loss_of
        self._optimiser = optimiser
        self._precision = precision

    def gather(self, step: int, shares: Sequence[Share[ItemT]]) -> list[BatchLoss]:
        """Add up the gradient of step `step` (from 0), a forward pass a share."""
        self._optimiser.set_rate(step)
        return [self._learn(each) for each in shares]

    def _learn(self, share: Share[ItemT]) -> BatchLoss:
        with autocast(self._model.device, self._precision):
            result = self._loss_of(share.items)
        (result.loss * share.share).backward()  # type: ignore[no-untyped-call]
        return result

    def apply(self, step: int) -> Applied:
        """Move the weights by the gradient that has gathered. Raises `NonFiniteLoss`."""
        return self._optimiser.apply(step)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights that are trained and their moments, whole, by name."""
        return self._optimiser.tensors()

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Weights and moments as `tensors` gave them, in however many processes that was."""
        self._optimiser.restore(tensors)

    def finish(self) -> None:
        """Leave the model as it was given, with the weights that it has now."""
