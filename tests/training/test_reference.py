"""The reference's log-probabilities: found by any training of the same model and tokens, and never when damaged."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.test_state import flip_bit
from tests.training.tiny import Recorder, make_pairs
from workers.training.completion_logprobs import CompletionScorer
from workers.training.contracts import PreferencePair
from workers.training.dpo import DPOConfig, DPOResult, train_dpo
from workers.training.reference import ReferenceCache

VALUES = torch.tensor([[-1.5, -2.5], [-3.5, -4.5]])


@pytest.fixture
def cache(tmp_path: Path) -> ReferenceCache:
    return ReferenceCache(tmp_path / "references", model="base")


def train(model_dir: Path, out_dir: Path, cache: ReferenceCache | None, **settings: Any) -> DPOResult:
    pairs: list[PreferencePair] = settings.pop("pairs", make_pairs(24))
    config = DPOConfig(model_dir=model_dir, **({"learning_rate": 1e-3, "epochs": 1, "batch_size": 8} | settings))
    return train_dpo(config, pairs, out_dir, Recorder(), references=cache)


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many groups each call without gradients scored: the reference passes."""
    calls: list[int] = []
    sums = CompletionScorer.sums

    def counted(self: CompletionScorer, groups: Any) -> torch.Tensor:
        if not torch.is_grad_enabled():
            calls.append(len(groups))
        return sums(self, groups)

    monkeypatch.setattr(CompletionScorer, "sums", counted)
    return calls


class TestTrainings:
    def test_a_second_training_skips_the_pass_and_ends_the_same(
        self, model_dir: Path, tmp_path: Path, cache: ReferenceCache, scored: list[int]
    ) -> None:
        first = train(model_dir, tmp_path / "first", cache)
        assert (first.reference_cached_pairs, sum(scored)) == (0, 24)
        second = train(model_dir, tmp_path / "second", cache)
        assert (second.reference_cached_pairs, sum(scored)) == (24, 24)
        without = train(model_dir, tmp_path / "without", None)
        assert first.losses == second.losses == without.losses

    def test_other_settings_and_labels_find_it_too(
        self, model_dir: Path, tmp_path: Path, cache: ReferenceCache, scored: list[int]
    ) -> None:
        train(model_dir, tmp_path / "first", cache)
        relabelled = [replace(pair, probability=0.7, weight=0.3) for pair in make_pairs(24)]
        second = train(model_dir, tmp_path / "second", cache, pairs=relabelled, beta=0.4, batch_size=6, seed=9)
        assert (second.reference_cached_pairs, sum(scored)) == (24, 24)

    def test_other_tokens_or_another_model_do_not(
        self, model_dir: Path, tmp_path: Path, cache: ReferenceCache, scored: list[int]
    ) -> None:
        train(model_dir, tmp_path / "first", cache)
        assert train(model_dir, tmp_path / "cut", cache, max_length=20).reference_cached_pairs == 0
        assert train(model_dir, tmp_path / "fewer", cache, pairs=make_pairs(23)).reference_cached_pairs == 0
        other = replace(cache, model="another")
        assert train(model_dir, tmp_path / "other", other).reference_cached_pairs == 0
        assert len(list(cache.directory.iterdir())) == 4

    def test_a_damaged_entry_is_computed_again(
        self, model_dir: Path, tmp_path: Path, cache: ReferenceCache, scored: list[int]
    ) -> None:
        first = train(model_dir, tmp_path / "first", cache)
        (entry,) = cache.directory.iterdir()
        sound = entry.read_bytes()
        flip_bit(entry)
        assert train(model_dir, tmp_path / "second", cache).losses == first.losses
        assert entry.read_bytes() == sound


class TestCache:
    def test_what_was_put_is_found(self, cache: ReferenceCache) -> None:
        assert cache.get("key") is None
        cache.put("key", VALUES)
        found = cache.get("key")
        assert found is not None
        assert torch.equal(found, VALUES)

    @pytest.mark.parametrize("keep", [0, 1, 40])
    def test_a_cut_file_is_not(self, keep: int, cache: ReferenceCache) -> None:
        cache.put("key", VALUES)
        (entry,) = cache.directory.iterdir()
        entry.write_bytes(entry.read_bytes()[:keep])
        assert cache.get("key") is None

    def test_a_failed_write_leaves_no_entry(self, cache: ReferenceCache, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_space(_: int) -> None:
            raise OSError(28, "no space left")

        monkeypatch.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="no space"):
            cache.put("key", VALUES)
        assert list(cache.directory.iterdir()) == []

    def test_the_least_recently_used_goes_first(self, cache: ReferenceCache) -> None:
        cache.put("a", VALUES)
        size = next(cache.directory.iterdir()).stat().st_size
        small = replace(cache, limit_bytes=2 * size)
        small.put("b", VALUES)
        for index, key in enumerate("ab"):
            os.utime(cache.directory / f"{key}.safetensors", (index, index))
        assert small.get("a") is not None
        small.put("c", VALUES)
        assert {path.stem for path in cache.directory.iterdir()} == {"a", "c"}
