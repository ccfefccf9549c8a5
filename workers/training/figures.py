"""Figures that a training reports: each is a mean over the pairs on which it is defined, however they were batched."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch


@dataclass(frozen=True)
class Mean:
    """A figure over one batch: its sum over `count` pairs. Scalar tensors, so that reading them waits only once."""

    total: torch.Tensor
    count: torch.Tensor

    @classmethod
    def over(cls, values: torch.Tensor, where: torch.Tensor | None = None) -> Self:
        """Of values (pairs,), or of those (pairs,) for which `where` holds."""
        defined = torch.ones_like(values, dtype=torch.bool) if where is None else where
        return cls(torch.where(defined, values, 0).sum(), defined.sum())


def peak_memory(device: torch.device) -> float:
    """The most bytes that this process has held: allocated on a GPU, resident otherwise."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(held if sys.platform == "darwin" else held * 1024)  # bytes there, kibibytes elsewhere


class Figures:
    """Sums and counts by name, added up over the batches of a step or the steps of an epoch."""

    def __init__(self, sums: Mapping[str, Sequence[float]] | None = None) -> None:
        self._sums = {name: (total, count) for name, (total, count) in (sums or {}).items()}

    def add(self, sums: Mapping[str, Sequence[float]]) -> None:
        for name, (total, count) in sums.items():
            known = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = known[0] + total, known[1] + count

    @property
    def sums(self) -> dict[str, tuple[float, float]]:
        return dict(self._sums)

    def means(self) -> dict[str, float]:
        """By name; a figure that no pair defined is absent."""
        return {name: total / count for name, (total, count) in self._sums.items() if count}
