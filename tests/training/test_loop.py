"""Data order and schedule: a function of seed, epoch and step, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workers.training.contracts import Optimisation
from workers.training.loop import epoch_batches
from workers.training.optimiser import learning_rate_at

LENGTHS = np.random.default_rng(0).integers(10, 200, size=1000).tolist()
CONFIG = Optimisation(model_dir=Path(), learning_rate=2.0, epochs=1, batch_size=1, warmup_ratio=0.1)


class TestEpochBatches:
    def test_every_index_once(self) -> None:
        batches = epoch_batches(LENGTHS, 16, seed=1, epoch=0)
        assert sorted(index for batch in batches for index in batch) == list(range(1000))
        assert sum(len(batch) != 16 for batch in batches) == 1

    def test_same_seed_and_epoch_same_order(self) -> None:
        assert epoch_batches(LENGTHS, 16, seed=1, epoch=2) == epoch_batches(LENGTHS, 16, seed=1, epoch=2)

    @pytest.mark.parametrize(("seed", "epoch"), [(1, 1), (2, 0)])
    def test_other_seed_or_epoch_other_order(self, seed: int, epoch: int) -> None:
        assert epoch_batches(LENGTHS, 16, seed=1, epoch=0) != epoch_batches(LENGTHS, 16, seed=seed, epoch=epoch)

    def test_batches_are_of_similar_length(self) -> None:
        def padding(batches: list[list[int]]) -> int:
            return sum(max(LENGTHS[i] for i in batch) - LENGTHS[j] for batch in batches for j in batch)

        unsorted = [list(range(at, min(at + 16, 1000))) for at in range(0, 1000, 16)]
        assert padding(epoch_batches(LENGTHS, 16, seed=1, epoch=0)) < padding(unsorted) / 5


class TestLearningRate:
    def test_linear(self) -> None:
        rates = [learning_rate_at(step, 100, CONFIG) for step in range(100)]
        assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
        assert rates[10] == 2.0
        assert rates[55] == pytest.approx(1.0)
        assert rates[99] == pytest.approx(2 / 90)
