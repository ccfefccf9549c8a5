"""Adapters: only they are trained, what is published is what they compute, and peft reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from app.rlaif.training import LoraConfig
from tests.training.tiny import Recorder, make_pairs, score
from workers.training.adapters import Adapters
from workers.training.checkpoint import load_policy
from workers.training.contracts import Conversation, MergeDiffers, TrainingStopped
from workers.training.dpo import DPOConfig, DPOResult, train_dpo
from workers.training.reward_model import RewardModelConfig, RewardModelData, train_reward_model

IDS = torch.arange(4, 24)[None]

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft on transformers 5


def config_for(model_dir: Path) -> DPOConfig:
    return DPOConfig(
        model_dir=model_dir, learning_rate=1e-2, epochs=2, batch_size=8, max_length=128, seed=3, lora=LoraConfig(rank=4)
    )


@pytest.fixture(scope="module")
def trained(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[DPOResult, Path]:
    out_dir = tmp_path_factory.mktemp("adapted")
    return train_dpo(config_for(model_dir), make_pairs(64), out_dir, Recorder()), out_dir


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        values: torch.Tensor = model(IDS).logits
    return values


class TestPolicy:
    def test_it_learns(self, trained: tuple[DPOResult, Path]) -> None:
        result = trained[0]
        assert result.metrics["accuracy"] > 0.9
        assert result.losses[-1] < result.losses[0]

    def test_every_linear_layer_moved_and_nothing_else(self, trained: tuple[DPOResult, Path], model_dir: Path) -> None:
        before, after = (load_file(each / "model.safetensors") for each in (model_dir, trained[1]))
        assert before.keys() == after.keys()
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved == {name for name in before if name.endswith("proj.weight")}

    def test_peft_reads_the_adapter_and_computes_what_was_merged(
        self, trained: tuple[DPOResult, Path], model_dir: Path
    ) -> None:
        base = AutoModelForCausalLM.from_pretrained(model_dir)
        before = logits(base)
        adapted = PeftModel.from_pretrained(base, str(trained[1] / "adapter")).eval()
        merged = logits(AutoModelForCausalLM.from_pretrained(trained[1]))
        torch.testing.assert_close(logits(adapted), merged, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(before, merged, atol=0.1)

    def test_nothing_published_names_a_path(self, trained: tuple[DPOResult, Path]) -> None:
        settings = json.loads((trained[1] / "adapter" / "adapter_config.json").read_text())
        assert settings["base_model_name_or_path"] == ""
        assert not (trained[1] / "adapter_config.json").exists()

    def test_a_state_holds_the_adapters_alone(self, trained: tuple[DPOResult, Path]) -> None:
        (state,) = (trained[1] / ".state").glob("state-*16")
        held = [name for name in load_file(state / "tensors.safetensors") if name.startswith("model.")]
        assert held
        assert all("lora_" in name for name in held)

    def test_stopped_it_goes_on_to_the_same_weights(
        self, trained: tuple[DPOResult, Path], model_dir: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(TrainingStopped):
            train_dpo(config_for(model_dir), make_pairs(64), tmp_path, Recorder(stop_after_reports=6))
        again = train_dpo(config_for(model_dir), make_pairs(64), tmp_path, Recorder())
        assert (again.losses, again.resumed_from) == (trained[0].losses, 7)
        for file in ("model.safetensors", "adapter/adapter_model.safetensors"):
            assert (tmp_path / file).read_bytes() == (trained[1] / file).read_bytes()


class TestMerge:
    def test_merged_weights_that_differ_are_not_published(
        self, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        merge = PeftModel.__getattr__

        def scaled(self: Any, name: str) -> Any:
            found = merge(self, name)
            if name != "merge_and_unload":
                return found

            def wrong() -> None:
                found()
                with torch.no_grad():
                    next(iter(self.base_model.model.parameters())).mul_(1.1)

            return wrong

        monkeypatch.setattr(PeftModel, "__getattr__", scaled)
        with pytest.raises(MergeDiffers, match="train without lora"):
            train_dpo(config_for(model_dir), make_pairs(16), tmp_path, Recorder())
        assert not (tmp_path / "model.safetensors").exists()

    def test_values_that_are_not_numbers_differ(self, model_dir: Path) -> None:
        adapters = Adapters(load_policy(model_dir).model, LoraConfig(), seed=0, head=None)
        with pytest.raises(MergeDiffers):
            adapters.merge(lambda: torch.tensor([float("nan")]))


class TestRewardModel:
    def test_head_and_adapters_are_trained_and_published(self, model_dir: Path, tmp_path: Path) -> None:
        config = RewardModelConfig(
            model_dir=model_dir, learning_rate=1e-2, epochs=3, batch_size=8, max_length=128, seed=3, lora=LoraConfig()
        )
        data = RewardModelData(make_pairs(96), make_pairs(40, seed=9))
        result = train_reward_model(config, data, tmp_path, Recorder())
        assert result.held_out.held_out_accuracy is not None
        assert result.held_out.held_out_accuracy.value > 0.8
        base = AutoModelForSequenceClassification.from_pretrained(model_dir, num_labels=1)
        adapted: Any = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
        items = [Conversation(pair.prompt, pair.first) for pair in make_pairs(4)]
        merged = AutoModelForSequenceClassification.from_pretrained(tmp_path)
        head = adapted.base_model.model.score.modules_to_save["default"].weight
        assert torch.equal(head, merged.score.weight)
        assert len(set(score(tmp_path, items, batch_size=2, progress=Recorder()))) == 4

    def test_seeds_draw_other_adapters(self, model_dir: Path, tmp_path: Path) -> None:
        results = [
            train_dpo(
                replace(config_for(model_dir), epochs=1, seed=seed), make_pairs(8), tmp_path / str(seed), Recorder()
            )
            for seed in (1, 2)
        ]
        assert results[0].losses == pytest.approx(results[1].losses)
        weights = [load_file(tmp_path / str(seed) / "adapter" / "adapter_model.safetensors") for seed in (1, 2)]
        assert not torch.equal(*(next(iter(each.values())) for each in weights))
