"""The optimisation loop that every offline method shares: data order, schedule, accumulation, saving, resuming.

One process or many ranks: a batch is the same whatever their number, each computes its part, and the first one saves.
Training runs with the model in evaluation mode, which turns every dropout off.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch

from app.rlaif.watch import Watch
from workers.training import ranks
from workers.training.contracts import (
    Optimisation,
    Progress,
    StateMismatch,
    TrainingStopped,
    TrainingUnhealthy,
    telling_not_finite,
)
from workers.training.figures import Figures, Mean, peak_memory
from workers.training.learner import BatchLoss, Learner, LossOf, Share
from workers.training.optimiser import (
    Optimiser,
    random_state,
    recomputed_activations,
    require_finite,
    restore_random_state,
)
from workers.training.state import LatestState, TrainingState, load_latest, save_state

__all__ = ["BatchLoss", "Item", "Loop", "Trajectory", "epoch_batches"]

_BUCKET_BATCHES = 16


class Item(Protocol):
    @property
    def length(self) -> int: ...

    @property
    def token_count(self) -> int: ...


ItemT = TypeVar("ItemT", bound=Item)


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
        loss_of: LossOf[ItemT],
        *,
        config: Optimisation,
        fingerprint: str,
        state_dir: Path,
        progress: Progress,
    ) -> None:
        self._model = model
        self._items = items
        self._config = config
        self._fingerprint = fingerprint
        self._state_dir = state_dir
        self._progress = progress
        self._watch = Watch(config.health, progress.alarm)
        self._losses: list[float] = []
        self._epoch_figures = Figures()
        self._epoch: tuple[int, list[list[int]]] = (-1, [])
        batches = math.ceil(len(items) / config.batch_size)
        self.steps_per_epoch = math.ceil(batches / config.gradient_accumulation_steps)
        self.total_steps = self.steps_per_epoch * config.epochs
        self._learner = _learner(model, loss_of, config, total_steps=self.total_steps)

    def run(self) -> Trajectory:
        """Train to the end. Raises `TrainingStopped`, `NonFiniteLoss`, `TrainingUnhealthy`, `StateMismatch`."""
        torch.manual_seed(self._config.seed)
        self._model.eval()
        recomputing = recomputed_activations(self._model) if self._config.gradient_checkpointing else nullcontext()
        with recomputing, telling_not_finite(self._progress):
            return self._run()

    def _run(self) -> Trajectory:
        latest = self._resume()
        first = len(self._losses)
        for step in range(first, self.total_steps):
            metrics = self._step(step)
            done = step + 1
            alarm = self._watch.see(done, metrics)
            if alarm is not None:
                self._progress.report(done, self.total_steps, metrics)
                raise TrainingUnhealthy(alarm)
            stopping = self._progress.should_stop()
            if stopping or done % self._config.save_steps == 0 or done == self.total_steps:
                self._save()
            self._progress.report(done, self.total_steps, metrics)
            if stopping and done < self.total_steps:
                raise TrainingStopped(done, self.total_steps)
        self._learner.finish()
        return Trajectory(tuple(self._losses), self._epoch_figures.means(), first or None, latest.rejected)

    def _step(self, step: int) -> dict[str, float]:
        """One optimiser step over its batches; each weighs by its size, so accumulation equals one large batch."""
        began = time.monotonic()
        batches = self._batches(step)
        figures = self._gather(step, batches)
        means = figures.means()
        require_finite("loss", means["loss"], step)
        applied = self._learner.apply(step)
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
            "memory_bytes": peak_memory(self._model.device),
        }

    def _gather(self, step: int, batches: Sequence[Sequence[ItemT]]) -> Figures:
        """Gathers the gradient of the batches; gives the sums and counts of their figures, over all ranks."""
        size = sum(map(len, batches))
        parts = [ranks.part_of(batch) for batch in batches]
        shares = [
            Share(part.items, part.share * (len(batch) / size)) for part, batch in zip(parts, batches, strict=True)
        ]
        figures = Figures()
        for part, result in zip(parts, self._learner.gather(step, shares), strict=True):
            figures.add(_sums(result, items=len(part.items), weight=part.weight))
        return Figures(ranks.summed(figures.sums, device=self._model.device))

    def _batches(self, step: int) -> list[list[ItemT]]:
        epoch, within = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            lengths = [item.length for item in self._items]
            self._epoch = epoch, epoch_batches(lengths, self._config.batch_size, seed=self._config.seed, epoch=epoch)
        count = self._config.gradient_accumulation_steps
        return [[self._items[i] for i in batch] for batch in self._epoch[1][within * count : (within + 1) * count]]

    def _save(self) -> None:
        """Every rank gives its part of the state, and the first one writes it."""
        snapshot = self._snapshot()
        if ranks.is_first():
            save_state(self._state_dir, snapshot)

    def _snapshot(self) -> TrainingState:
        tensors = random_state(self._model.device) | self._learner.tensors()
        position = {
            "fingerprint": self._fingerprint,
            "losses": self._losses,
            "epoch_sums": self._epoch_figures.sums,
            "watch": self._watch.state,
        }
        return TrainingState(len(self._losses), tensors, position)

    def _resume(self) -> LatestState:
        latest = load_latest(self._state_dir)
        if latest.state is None:
            return latest
        if latest.state.position["fingerprint"] != self._fingerprint:
            raise StateMismatch(self._state_dir)
        self._learner.restore(latest.state.tensors)
        restore_random_state(latest.state.tensors, self._model.device)
        self._losses = list(latest.state.position["losses"])
        self._epoch_figures = Figures(latest.state.position["epoch_sums"])
        self._watch.restore(latest.state.position["watch"])
        return latest


def _learner(model: Any, loss_of: LossOf[ItemT], config: Optimisation, *, total_steps: int) -> Learner[ItemT]:
    """One that shares its work with the other ranks, where there are some."""
    if ranks.count() == 1:
        return Learner(model, loss_of, Optimiser(model, config, total_steps=total_steps), precision=config.precision)
    from workers.training.accelerated import AcceleratedLearner  # a second of imports

    return AcceleratedLearner(model, loss_of, config, total_steps=total_steps)


def _sums(result: BatchLoss, *, items: int, weight: float) -> dict[str, tuple[float, float]]:
    """The sum and the count of each figure, the loss among them, counted `weight` times."""
    loss = Mean.over(result.loss.detach().float().expand(items))
    figures = {"loss": loss, **result.metrics}
    values = torch.stack([part.double() for mean in figures.values() for part in (mean.total, mean.count)])
    totals, counts = (values * weight).view(-1, 2).T.tolist()
    return dict(zip(figures, zip(totals, counts, strict=True), strict=True))
