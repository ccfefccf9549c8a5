"""Precision and recomputed activations: the one changes numbers a little and where it says so, the other none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaMLP

from app.rlaif.training import LoraConfig, Precision
from tests.training.tiny import Recorder, make_pairs
from workers.training.dpo import DPOConfig, train_dpo
from workers.training.reference import ReferenceCache


def config_for(model_dir: Path, **settings: Any) -> DPOConfig:
    return DPOConfig(model_dir=model_dir, learning_rate=1e-3, epochs=1, batch_size=8, max_length=128, **settings)


class TestCheckpointing:
    @pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
    def test_the_same_losses_and_weights(self, lora: LoraConfig | None, model_dir: Path, tmp_path: Path) -> None:
        kept, recomputed = (
            train_dpo(
                config_for(model_dir, lora=lora, gradient_checkpointing=on),
                make_pairs(32),
                tmp_path / f"{on}",
                Recorder(),
            )
            for on in (False, True)
        )
        assert kept.losses == recomputed.losses
        weights = [(tmp_path / f"{on}" / "model.safetensors").read_bytes() for on in (False, True)]
        assert weights[0] == weights[1]

    def test_layers_are_computed_again(self, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[bool] = []
        forward: Any = LlamaMLP.forward

        def counted(self: LlamaMLP, x: torch.Tensor) -> Any:
            calls.append(self.training)
            return forward(self, x)

        monkeypatch.setattr(LlamaMLP, "forward", counted)
        counts = []
        for on in (False, True):
            calls.clear()
            train_dpo(config_for(model_dir, gradient_checkpointing=on), make_pairs(32), tmp_path / f"{on}", Recorder())
            counts.append(len(calls))
            assert not any(calls)
        assert counts[1] - counts[0] == 2 * 4  # layers x steps


class TestPrecision:
    def test_half_is_close_and_not_the_same(self, model_dir: Path, tmp_path: Path) -> None:
        full, half, by_itself = (
            train_dpo(config_for(model_dir, precision=each), make_pairs(32), tmp_path / each, Recorder())
            for each in (Precision.FLOAT32, Precision.BFLOAT16, Precision.AUTO)
        )
        assert half.losses != full.losses
        assert half.losses == pytest.approx(full.losses, rel=0.02)
        assert by_itself.losses == (half if torch.cuda.is_available() else full).losses

    def test_each_has_its_own_reference(self, model_dir: Path, tmp_path: Path) -> None:
        cache = ReferenceCache(tmp_path / "references", model="base")
        config = config_for(model_dir, precision=Precision.BFLOAT16)
        pairs = make_pairs(16)
        half = train_dpo(config, pairs, tmp_path / "half", Recorder(), references=cache)
        other = replace(config, precision=Precision.FLOAT32)
        full = train_dpo(other, pairs, tmp_path / "full", Recorder(), references=cache)
        assert half.reference_cached_pairs == full.reference_cached_pairs == 0
