"""vLLM behind the sampler and the rollouts, held against our own decode loop: what is asked, answered and handed over.

vLLM itself needs a GPU; here a stand-in with its calls draws the tokens.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from app.rlaif.online_method import OnlineMethod
from app.rlaif.training import LoraConfig
from tests.training import vllm_stand_in
from tests.training.test_online import PROMPTS, config, even
from tests.training.test_sampling import draw, make_requests
from tests.training.tiny import Recorder
from workers.sampling.engine import SamplingStopped
from workers.sampling.sampler import Sampler
from workers.sampling.transformers import TransformersSampler
from workers.sampling.vllm import EngineMissing, VLLMEngine, VLLMSampler
from workers.training.adapters import Adapters
from workers.training.checkpoint import load_policy
from workers.training.online import train_online
from workers.training.rewards import TextReward
from workers.training.rollout_engines import VLLMRollouts, policy_weights


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(sys.modules, "vllm", vllm_stand_in)
    return vllm_stand_in


class TestSampler:
    @pytest.mark.parametrize("names_stops", [False, True])
    def test_draws_what_it_is_asked(
        self, vllm: Any, model_dir: Path, monkeypatch: pytest.MonkeyPatch, *, names_stops: bool
    ) -> None:
        monkeypatch.setattr(vllm.LLM, "names_stops", names_stops)
        requests = make_requests(24)
        expected = draw(TransformersSampler(model_dir), requests, batch_size=8)
        sampler: Any = VLLMSampler(model_dir)
        assert draw(sampler, requests, batch_size=8) == expected
        assert {each.finish_reason for each in expected.values()} >= {"stop"}

    def test_stops_between_batches(self, vllm: Any, model_dir: Path) -> None:
        progress = Recorder(stop_after_reports=1)
        sampler: Sampler = VLLMSampler(model_dir)
        with pytest.raises(SamplingStopped):
            list(
                sampler.sample(
                    make_requests(8), temperature=1.0, top_p=1.0, max_new_tokens=4, batch_size=4, progress=progress
                )
            )

    def test_says_what_to_install(self, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "vllm", None)
        with pytest.raises(EngineMissing, match="extra `vllm`"):
            VLLMEngine(model_dir, memory=0.5)


class TestRollouts:
    @pytest.mark.parametrize("lora", [None, LoraConfig(rank=4, alpha=8)])
    def test_are_drawn_with_the_weights_of_each_step(
        self, vllm: Any, model_dir: Path, tmp_path: Path, lora: LoraConfig | None
    ) -> None:
        """A policy that moves fast: with the weights of another step its rollouts would be others."""
        settings = config(model_dir, OnlineMethod.GRPO, lora=lora, steps=5)
        own = train_online(settings, PROMPTS, TextReward(even), tmp_path / "own", Recorder())
        engine = VLLMRollouts(model_dir)
        theirs = train_online(settings, PROMPTS, TextReward(even), tmp_path / "vllm", Recorder(), engine=engine)
        assert theirs.losses == pytest.approx(own.losses, abs=1e-4)
        assert len(set(own.losses)) > 1

    def test_old_answers_are_forgotten_with_old_weights(self, vllm: Any, model_dir: Path) -> None:
        engine: Any = VLLMRollouts(model_dir)
        engine.refresh(load_policy(model_dir))
        assert engine._llm.resets == 1

    def test_adapters_are_added_in_and_the_model_is_left_alone(self, model_dir: Path) -> None:
        policy = load_policy(model_dir, lora=LoraConfig(rank=4, alpha=8))
        Adapters(policy.model, LoraConfig(rank=4, alpha=8), seed=1, head=None)
        with_adapters = dict(policy.model.named_parameters())
        for name, tensor in with_adapters.items():
            if "lora_B" in name:
                tensor.data.fill_(0.01)
        before = {name: tensor.clone() for name, tensor in with_adapters.items()}
        handed = dict(policy_weights(policy.model))
        plain = dict(load_policy(model_dir).model.named_parameters())
        assert handed.keys() == plain.keys()
        moved = [name for name in plain if not handed[name].equal(plain[name])]
        assert moved
        assert all("proj" in name for name in moved)
        assert all(before[name].equal(tensor) for name, tensor in with_adapters.items())
