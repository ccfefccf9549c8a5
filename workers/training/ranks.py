"""The processes that train one model together: each computes its part of every batch, and they agree on the rest.

Where nothing was launched there is one, and every function here gives back what it was given. What passes between ranks
are tensors; all of them must call the same functions in the same order, or they wait for each other for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import distributed

from app.rlaif.health import Alarm
from workers.training.contracts import Progress

ItemT = TypeVar("ItemT")


def count() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def index() -> int:
    """From 0; the first rank alone writes files and reports."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    return index() == 0


@dataclass(frozen=True)
class Part(Generic[ItemT]):
    """What one rank computes of a batch: its loss counts for `share` of the batch's, its figures `weight` times."""

    items: Sequence[ItemT]
    share: float
    weight: float


def part_of(batch: Sequence[ItemT]) -> Part[ItemT]:
    """Every n-th item. A batch of fewer items than ranks is computed whole by each: no rank may stand aside, since the
    others wait for its gradient."""
    if len(batch) < count():
        return Part(batch, 1 / count(), 1 / count())
    items = batch[index() :: count()]
    return Part(items, len(items) / len(batch), 1.0)


def total(values: torch.Tensor) -> torch.Tensor:
    """Values of any shape, summed over the ranks; without gradient."""
    values = values.detach()
    if count() > 1:
        values = values.clone()
        distributed.all_reduce(values)
    return values


def mean(values: torch.Tensor) -> torch.Tensor:
    """The mean of one value an item (items,) over the whole batch; without gradient."""
    if count() == 1:
        return values.detach().mean()
    size = values.new_tensor(float(len(values)))
    whole = total(torch.stack([values.sum(), size]))
    return whole[0] / whole[1]


def ratio(numerator: torch.Tensor, denominator: torch.Tensor, *, items: int) -> torch.Tensor:
    """What a batch has of `numerator` to its `denominator`, where this rank has so much of each and `items` items.

    The gradient is the numerator's. Weighed by items, the mean over ranks is the ratio of the sums, although no rank
    knows the others' numerators.
    """
    whole = total(torch.stack([denominator.double(), denominator.new_tensor(items, dtype=torch.float64)]))
    return numerator / whole[0].to(numerator.dtype) * (whole[1] / items).to(numerator.dtype)


def summed(sums: Mapping[str, tuple[float, float]], *, device: torch.device) -> dict[str, tuple[float, float]]:
    """Sums and counts of figures, added up over the ranks."""
    if count() == 1:
        return dict(sums)
    values = total(torch.tensor(list(sums.values()), dtype=torch.float64, device=device))
    return {name: (float(part), float(of)) for name, (part, of) in zip(sums, values.tolist(), strict=True)}


def from_first(values: torch.Tensor) -> torch.Tensor:
    """The first rank's values; the others give a tensor of the same shape and kind."""
    if count() > 1:
        values = values.clone()
        distributed.broadcast(values, src=0)
    return values


@dataclass(frozen=True)
class SharedProgress:
    """The first rank's progress, by which all of them stop after the same step."""

    first: Progress
    device: torch.device

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        if is_first():
            self.first.report(step, total, metrics)

    def alarm(self, alarm: Alarm) -> None:
        if is_first():
            self.first.alarm(alarm)

    def should_stop(self) -> bool:
        """The first rank's answer; every rank asks at the same points."""
        asked = is_first() and self.first.should_stop()
        return bool(from_first(torch.tensor(asked, dtype=torch.uint8, device=self.device)))
