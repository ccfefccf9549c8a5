"""The optimisation loop that every offline method shares: data order, schedule, accumulation, saving, resuming.

Plain torch on one device. Many devices slot in here and only here: `accelerate launch` would wrap `model` and the
optimiser with `Accelerator.prepare`, take every `world_size`-th batch of `epoch_batches`, and save on the main process.
Training runs with the model in evaluation mode, which turns every dropout off.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch

from workers.training.contracts import Optimisation, Progress, StateMismatch, TrainingStopped
from workers.training.figures import Figures, Mean
from workers.training.optimiser import (
    Optimiser,
    autocast,
    random_state,
    recomputed_activations,
    require_finite,
    restore_random_state,
)
from workers.training.state import LatestState, TrainingState, load_latest, save_state

_BUCKET_BATCHES = 16


class Item(Protocol):
    @property
    def length(self) -> int: ...

    @property
    def token_count(self) -> int: ...


ItemT = TypeVar("ItemT", bound=Item)


@dataclass(frozen=True)
class BatchLoss:
    """The mean loss over a batch, and figures to report beside it."""

    loss: torch.Tensor
    metrics: Mapping[str, Mean]


@dataclass(frozen=True)
class Trajectory:
    """One loss an optimiser step, means of all figures over the last epoch, and how the training was resumed."""

    losses: tuple[float, ...]
    metrics: dict[str, float]
    resumed_from: int | None
    rejected_states: tuple[str, ...]


def epoch_batches(lengths: Sequence[int], batch_size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Indices of one epoch in batches of similar length, in an order that depends on (seed, epoch) only.

    Shuffle, sort within buckets of sixteen batches, cut, shuffle the batches: little padding, little bias.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths)).tolist()
    bucket = batch_size * _BUCKET_BATCHES
    buckets = [sorted(order[at : at + bucket], key=lambda i: -lengths[i]) for at in range(0, len(order), bucket)]
    batches = [group[at : at + batch_size] for group in buckets for at in range(0, len(group), batch_size)]
    return [batches[index] for index in rng.permutation(len(batches)).tolist()]


class Loop(Generic[ItemT]):
    """Minimise `loss_of` over `items`, starting from `model` or from the newest sound state in `state_dir`."""

    def __init__(
        self,
        model: Any,
        items: Sequence[ItemT],
        loss_of: Callable[[Sequence[ItemT]], BatchLoss],
        *,
        config: Optimisation,
        fingerprint: str,
        state_dir: Path,
        progress: Progress,
    ) -> None:
        self._model = model
        self._items = items
        self._loss_of = loss_of
        self._config = config
        self._fingerprint = fingerprint
        self._state_dir = state_dir
        self._progress = progress
        self._losses: list[float] = []
        self._epoch_figures = Figures()
        self._epoch: tuple[int, list[list[int]]] = (-1, [])
        batches = math.ceil(len(items) / config.batch_size)
        self.steps_per_epoch = math.ceil(batches / config.gradient_accumulation_steps)
        self.total_steps = self.steps_per_epoch * config.epochs
        self._optimiser = Optimiser(model, config, total_steps=self.total_steps)

    def run(self) -> Trajectory:
        """Train to the end. Raises `TrainingStopped`, `NonFiniteLoss`, `StateMismatch`."""
        torch.manual_seed(self._config.seed)
        self._model.eval()
        with recomputed_activations(self._model) if self._config.gradient_checkpointing else nullcontext():
            return self._run()

    def _run(self) -> Trajectory:
        latest = self._resume()
        first = len(self._losses)
        for step in range(first, self.total_steps):
            metrics = self._step(step)
            done = step + 1
            stopping = self._progress.should_stop()
            if stopping or done % self._config.save_steps == 0 or done == self.total_steps:
                save_state(self._state_dir, self._snapshot())
            self._progress.report(done, self.total_steps, metrics)
            if stopping and done < self.total_steps:
                raise TrainingStopped(done, self.total_steps)
        return Trajectory(tuple(self._losses), self._epoch_figures.means(), first or None, latest.rejected)

    def _step(self, step: int) -> dict[str, float]:
        """One optimiser step over its batches; each weighs by its size, so accumulation equals one large batch."""
        began = time.monotonic()
        batches = self._batches(step)
        size = sum(len(batch) for batch in batches)
        figures = Figures()
        for batch in batches:
            figures.add(self._backward(batch, len(batch) / size))
        means = figures.means()
        require_finite("loss", means["loss"], step)
        applied = self._optimiser.apply(step)
        self._losses.append(means["loss"])
        if step % self.steps_per_epoch == 0:
            self._epoch_figures = Figures()
        self._epoch_figures.add(figures.sums)
        tokens = sum(item.token_count for batch in batches for item in batch)
        return means | {
            "learning_rate": applied.learning_rate,
            "grad_norm": applied.grad_norm,
            "epoch": (step + 1) / self.steps_per_epoch,
            "tokens_per_second": tokens / (time.monotonic() - began),
        }

    def _backward(self, batch: Sequence[ItemT], share: float) -> dict[str, tuple[float, float]]:
        """Adds the batch's gradient; gives the sum and the count of each figure, the loss among them."""
        with autocast(self._model.device, self._config.precision):
            result = self._loss_of(batch)
        (result.loss * share).backward()  # type: ignore[no-untyped-call]
        loss = Mean.over(result.loss.detach().float().expand(len(batch)))
        figures = {"loss": loss, **result.metrics}
        values = torch.stack([part.double() for mean in figures.values() for part in (mean.total, mean.count)])
        totals, counts = values.view(-1, 2).T.tolist()
        return dict(zip(figures, zip(totals, counts, strict=True), strict=True))

    def _batches(self, step: int) -> list[list[ItemT]]:
        epoch, within = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            lengths = [item.length for item in self._items]
            self._epoch = epoch, epoch_batches(lengths, self._config.batch_size, seed=self._config.seed, epoch=epoch)
        count = self._config.gradient_accumulation_steps
        return [[self._items[i] for i in batch] for batch in self._epoch[1][within * count : (within + 1) * count]]

    def _snapshot(self) -> TrainingState:
        tensors = random_state(self._model.device) | self._optimiser.tensors()
        position = {"fingerprint": self._fingerprint, "losses": self._losses, "epoch_sums": self._epoch_figures.sums}
        return TrainingState(len(self._losses), tensors, position)

    def _resume(self) -> LatestState:
        latest = load_latest(self._state_dir)
        if latest.state is None:
            return latest
        if latest.state.position["fingerprint"] != self._fingerprint:
            raise StateMismatch(self._state_dir)
        self._optimiser.restore(latest.state.tensors)
        restore_random_state(latest.state.tensors, self._model.device)
        self._losses = list(latest.state.position["losses"])
        self._epoch_figures = Figures(latest.state.position["epoch_sums"])
        return latest
