"""Adapters beside weights in four bits: what is trained, what is merged, and what is published, on a CPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from app.rlaif.online_method import OnlineMethod
from app.rlaif.training import LoraConfig
from tests.training.tiny import Recorder, build_encoder, build_model, make_pairs, score
from workers.training import quantization
from workers.training.checkpoint import load_policy, load_scalar_model
from workers.training.contracts import Conversation, QuantizationUnavailable, TrainingStopped
from workers.training.dpo import DPOConfig, DPOResult, train_dpo
from workers.training.launch import Processes, spread
from workers.training.online import train_online
from workers.training.online_config import OnlineConfig
from workers.training.quantization import dequantize, is_quantized
from workers.training.reference import ReferenceCache
from workers.training.reward_model import RewardModelConfig, RewardModelData, train_reward_model
from workers.training.rewards import TextReward
from workers.training.rollouts import TrainPrompt

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft on transformers 5

NF4 = LoraConfig(rank=4, quantization="nf4")
IDS = torch.arange(4, 24)[None]


def config_for(model_dir: Path, lora: LoraConfig | None = NF4) -> DPOConfig:
    return DPOConfig(model_dir=model_dir, learning_rate=1e-2, epochs=2, batch_size=8, max_length=128, seed=3, lora=lora)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of rows that are whole blocks of 64."""
    return build_model(tmp_path_factory.mktemp("model") / "wide", hidden=64)


@pytest.fixture(scope="module")
def trained(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[DPOResult, Path]:
    out_dir = tmp_path_factory.mktemp("quantized")
    return train_dpo(config_for(model_dir), make_pairs(64), out_dir, Recorder()), out_dir


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    values: torch.Tensor = model(IDS).logits
    return values


class TestLoading:
    def test_linear_layers_alone_are_in_four_bits(self, model_dir: Path) -> None:
        model = load_policy(model_dir, lora=NF4).model
        kinds = {name: type(module).__name__ for name, module in model.named_modules() if "proj" in name}
        assert set(kinds.values()) == {"Linear4bit"}
        assert model.model.layers[0].mlp.up_proj.weight.dtype is torch.uint8
        assert type(model.lm_head).__name__ == "Linear"
        assert model.model.embed_tokens.weight.dtype is torch.float32

    def test_four_bits_are_near_what_they_stand_for_and_not_the_same(self, model_dir: Path) -> None:
        """A normal distribution's quantization error in sixteen levels of blocks of 64 is about a tenth."""
        small = load_policy(model_dir, lora=NF4).model
        asked = logits(small)
        dequantize(small)
        torch.testing.assert_close(logits(small), asked)
        before = load_file(model_dir / "model.safetensors")
        for name, weight in small.named_parameters():
            error = float((weight.detach() - before[name]).norm() / before[name].norm())
            assert 0.05 < error < 0.15 if "proj" in name else error == 0, name

    def test_heads_and_poolers_stay_as_they_are(self, model_dir: Path, tmp_path: Path) -> None:
        causal = load_scalar_model(model_dir, lora=NF4)
        assert (type(causal.model.score).__name__, causal.head) == ("Linear", ("score",))
        encoder = load_scalar_model(build_encoder(tmp_path / "bert", hidden=64), template_dir=model_dir, lora=NF4)
        assert type(encoder.model.bert.pooler.dense).__name__ == type(encoder.model.classifier).__name__ == "Linear"
        assert encoder.head == ("bert.pooler.dense", "classifier")
        assert is_quantized(encoder.model)

    def test_reading_does_not_repack(self, model_dir: Path) -> None:
        """bitsandbytes would, on some CPUs, in the first pass without gradient, and compute differently after it."""
        model = load_policy(model_dir, lora=NF4).model
        before = model.model.layers[0].mlp.up_proj.weight.clone()
        with torch.inference_mode():
            model(IDS)
        assert torch.equal(model.model.layers[0].mlp.up_proj.weight, before)

    def test_without_the_library_it_is_refused_with_the_remedy(
        self, model_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(quantization, "find_spec", lambda name: None)
        with pytest.raises(QuantizationUnavailable, match="pip install bitsandbytes"):
            load_policy(model_dir, lora=NF4)
        assert not is_quantized(load_policy(model_dir, lora=LoraConfig()).model)

    def test_rows_that_are_no_whole_blocks_stay_as_they_are(self, tmp_path: Path) -> None:
        """bitsandbytes reads them wrongly on a CPU; one that is 32 wide has nothing else but its way down."""
        model = load_policy(build_model(tmp_path / "narrow", hidden=32), lora=NF4).model
        small = {name.rpartition(".")[2] for name, each in model.named_modules() if type(each).__name__ == "Linear4bit"}
        assert small == {"down_proj"}


class TestPolicy:
    def test_it_learns_as_whole_weights_do(
        self, trained: tuple[DPOResult, Path], model_dir: Path, tmp_path: Path
    ) -> None:
        whole = train_dpo(config_for(model_dir, LoraConfig(rank=4)), make_pairs(64), tmp_path, Recorder())
        assert trained[0].losses[0] == pytest.approx(whole.losses[0], rel=0.2)
        assert trained[0].metrics["accuracy"] > 0.9

    def test_what_is_published_is_a_plain_model(self, trained: tuple[DPOResult, Path], model_dir: Path) -> None:
        before, after = (load_file(each / "model.safetensors") for each in (model_dir, trained[1]))
        assert {name: value.dtype for name, value in after.items()} == {n: v.dtype for n, v in before.items()}
        assert "quantization_config" not in (trained[1] / "config.json").read_text()
        assert AutoTokenizer.from_pretrained(trained[1]).chat_template

    def test_merged_it_computes_what_the_adapters_do_on_four_bits(
        self, trained: tuple[DPOResult, Path], model_dir: Path
    ) -> None:
        """peft reads the adapter; beside whole weights it computes something else."""
        merged = logits(AutoModelForCausalLM.from_pretrained(trained[1]))
        small = PeftModel.from_pretrained(load_policy(model_dir, lora=NF4).model, str(trained[1] / "adapter")).eval()
        torch.testing.assert_close(logits(small), merged, rtol=1e-4, atol=1e-4)
        whole = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(model_dir), str(trained[1] / "adapter")
        ).eval()
        assert not torch.allclose(logits(whole), merged, atol=0.1)

    def test_stopped_it_goes_on_to_the_same_weights(
        self, trained: tuple[DPOResult, Path], model_dir: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(TrainingStopped):
            train_dpo(config_for(model_dir), make_pairs(64), tmp_path, Recorder(stop_after_reports=6))
        again = train_dpo(config_for(model_dir), make_pairs(64), tmp_path, Recorder())
        assert (again.losses, again.resumed_from) == (trained[0].losses, 7)
        assert (tmp_path / "model.safetensors").read_bytes() == (trained[1] / "model.safetensors").read_bytes()

    def test_its_reference_is_not_that_of_whole_weights(self, model_dir: Path, tmp_path: Path) -> None:
        cache = ReferenceCache(tmp_path / "cache", model="the same digest")
        configs = [replace(config_for(model_dir, lora), epochs=1) for lora in (LoraConfig(rank=4), NF4, NF4)]
        results = [
            train_dpo(config, make_pairs(16), tmp_path / str(place), Recorder(), references=cache)
            for place, config in enumerate(configs)
        ]
        assert [result.reference_cached_pairs for result in results] == [0, 0, 16]

    def test_two_processes_train_as_one(self, trained: tuple[DPOResult, Path], model_dir: Path, tmp_path: Path) -> None:
        together = spread(train_dpo, Processes(2))
        result = together(config_for(model_dir), make_pairs(64), tmp_path, Recorder())
        assert result.losses == pytest.approx(trained[0].losses, rel=1e-4)

    def test_on_its_own_answers(self, model_dir: Path, tmp_path: Path) -> None:
        config = OnlineConfig(
            model_dir=model_dir,
            method=OnlineMethod.GRPO,
            learning_rate=1e-2,
            epochs=1,
            batch_size=4,
            steps=2,
            prompts_per_step=4,
            completions=4,
            max_new_tokens=8,
            max_length=128,
            seed=3,
            lora=NF4,
        )
        prompts = [TrainPrompt(pair.id, pair.prompt) for pair in make_pairs(8)]
        reward = TextReward(lambda rollout: float(len(rollout.text)))
        result = train_online(config, prompts, reward, tmp_path, Recorder())
        assert result.steps == 2
        assert result.metrics["kl"] > 0
        AutoModelForCausalLM.from_pretrained(tmp_path)


class TestRewardModel:
    @pytest.mark.parametrize("kind", ["causal", "bert", "modernbert"])
    def test_head_and_adapters_are_trained(self, kind: str, model_dir: Path, tmp_path: Path) -> None:
        directory = tmp_path / "start"
        start = build_model(directory, hidden=64) if kind == "causal" else build_encoder(directory, kind, hidden=64)
        config = RewardModelConfig(
            model_dir=start,
            template_dir=model_dir,
            learning_rate=3e-3,
            epochs=3,
            batch_size=8,
            max_length=128,
            seed=3,
            lora=NF4,
        )
        data = RewardModelData(make_pairs(96), make_pairs(40, seed=9))
        result = train_reward_model(config, data, tmp_path / "out", Recorder())
        assert result.held_out.held_out_accuracy is not None
        assert result.held_out.held_out_accuracy.value > 0.8
        published = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
        assert not is_quantized(published)
        items = [Conversation(pair.prompt, pair.first) for pair in make_pairs(4)]
        assert len(set(score(tmp_path / "out", items, batch_size=2, progress=Recorder()))) == 4
