"""Reward models that start from something else than the policy: encoders, and causal models of other tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification

from app.rlaif.training import LoraConfig
from tests.training.tiny import (
    CHATML_TEMPLATE,
    ENCODERS,
    PLAIN_TEMPLATE,
    Recorder,
    build_encoder,
    build_model,
    make_pairs,
    score,
)
from workers.sampling.language_model import NoChatTemplate, window_of
from workers.training.checkpoint import load_scalar_model
from workers.training.contracts import Conversation
from workers.training.reward_model import (
    RewardModelConfig,
    RewardModelData,
    RewardModelResult,
    train_reward_model,
)
from workers.training.rewards import RewardModelReward
from workers.training.rollouts import Rollout, RolloutGroup, TrainPrompt
from workers.training.scoring import Scorer, rewards
from workers.training.shared_prompts import PromptGroup

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft on transformers 5

ITEMS = [Conversation(pair.prompt, pair.first) for pair in make_pairs(6, seed=5)]


def config_for(encoder: Path, policy: Path) -> RewardModelConfig:
    return RewardModelConfig(
        model_dir=encoder, template_dir=policy, learning_rate=3e-3, epochs=4, batch_size=8, max_length=128, seed=3
    )


def data() -> RewardModelData:
    return RewardModelData(make_pairs(96), make_pairs(60, seed=9))


@pytest.fixture(scope="module", params=list(ENCODERS))
def trained(
    request: pytest.FixtureRequest, model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RewardModelResult, Path, Path]:
    encoder = build_encoder(tmp_path_factory.mktemp("encoder") / request.param, request.param)
    out_dir = tmp_path_factory.mktemp("reward")
    return train_reward_model(config_for(encoder, model_dir), data(), out_dir, Recorder()), out_dir, encoder


class TestEncoder:
    def test_every_parameter_moved(self, trained: tuple[RewardModelResult, Path, Path], model_dir: Path) -> None:
        _, out_dir, encoder = trained
        before = load_scalar_model(encoder, seed=3, template_dir=model_dir).model
        after = dict(AutoModelForSequenceClassification.from_pretrained(out_dir).named_parameters())
        still = {name for name, value in before.named_parameters() if torch.equal(value, after[name])}
        assert not still

    def test_it_learned(self, trained: tuple[RewardModelResult, Path, Path]) -> None:
        accuracy = trained[0].held_out.held_out_accuracy
        assert accuracy is not None
        assert accuracy.low > 0.6
        assert trained[0].losses[-1] < trained[0].losses[0]

    def test_plain_transformers_gives_the_same_scores(
        self, trained: tuple[RewardModelResult, Path, Path], model_dir: Path
    ) -> None:
        """[CLS] conversation [SEP], rendered with the template that lies in the checkpoint: the policy's."""
        out_dir = trained[1]
        tokenizer = AutoTokenizer.from_pretrained(out_dir)
        assert tokenizer.chat_template == AutoTokenizer.from_pretrained(model_dir).chat_template
        model = AutoModelForSequenceClassification.from_pretrained(out_dir).eval()
        expected = []
        for item in ITEMS:
            answered = [*map(dict, item.prompt), {"role": "assistant", "content": item.completion}]
            text = tokenizer.apply_chat_template(answered, tokenize=False)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                row = torch.tensor([[tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]])
                expected.append(float(model(input_ids=row).logits))
        assert score(out_dir, ITEMS, batch_size=4, progress=Recorder()) == pytest.approx(expected, abs=1e-4)

    def test_beyond_its_window_there_is_no_score(self, trained: tuple[RewardModelResult, Path, Path]) -> None:
        long = Conversation(ITEMS[0].prompt, "the moon " * 300)
        model = load_scalar_model(trained[1]).model
        assert window_of(model) == (255 if model.config.model_type == "roberta" else 256)
        alone, beyond = score(trained[1], [ITEMS[0], long], batch_size=2, progress=Recorder())
        assert alone is not None
        assert beyond is None

    def test_its_window_can_be_filled(self, trained: tuple[RewardModelResult, Path, Path]) -> None:
        reward_model = load_scalar_model(trained[1])
        full = window_of(reward_model.model)
        assert full is not None
        assert rewards(reward_model, [PromptGroup([5] * (full - 1), [[6]])]).isfinite().all()


class TestTemplate:
    def test_its_own_goes_before_the_policys(self, model_dir: Path, tmp_path: Path) -> None:
        encoder = build_encoder(tmp_path / "encoder", template=PLAIN_TEMPLATE)
        loaded = load_scalar_model(encoder, template_dir=model_dir)
        assert loaded.tokenizer.chat_template == PLAIN_TEMPLATE

    def test_without_any_it_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(NoChatTemplate):
            load_scalar_model(build_encoder(tmp_path / "encoder"))


class TestHead:
    def test_a_classifier_of_other_labels_gets_a_new_one(self, model_dir: Path, tmp_path: Path) -> None:
        encoder = build_encoder(tmp_path / "encoder")
        config = BertConfig.from_pretrained(encoder, num_labels=3)
        BertForSequenceClassification(config).save_pretrained(encoder)
        loaded = load_scalar_model(encoder, template_dir=model_dir)
        assert loaded.model.classifier.weight.shape == (1, 32)
        assert loaded.head == ("classifier",)

    def test_what_was_drawn_belongs_to_it(self, model_dir: Path, tmp_path: Path) -> None:
        """A masked language model has no pooler: trained by adapters, a random one would stay as it was drawn."""
        encoder = build_encoder(tmp_path / "encoder")
        assert load_scalar_model(encoder, template_dir=model_dir).head == ("bert.pooler.dense", "classifier")
        assert load_scalar_model(model_dir).head == ("score",)


class TestLora:
    @pytest.mark.parametrize("kind", ["bert", "modernbert"])
    def test_the_adapter_is_what_was_merged(self, kind: str, model_dir: Path, tmp_path: Path) -> None:
        encoder = build_encoder(tmp_path / "encoder", kind)
        config = replace(config_for(encoder, model_dir), learning_rate=1e-2, lora=LoraConfig(rank=4))
        result = train_reward_model(config, data(), tmp_path / "out", Recorder())
        assert result.held_out.held_out_accuracy is not None
        assert result.held_out.held_out_accuracy.low > 0.6
        base = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=1)
        adapted: Any = PeftModel.from_pretrained(base, str(tmp_path / "out" / "adapter")).eval()
        merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
        ids = torch.arange(5, 25)[None]
        with torch.no_grad():
            torch.testing.assert_close(adapted(ids).logits, merged(ids).logits, rtol=1e-4, atol=1e-4)


class TestEnsemble:
    def test_members_are_of_the_same_backbone_and_their_mean_is_the_score(
        self, model_dir: Path, tmp_path: Path
    ) -> None:
        encoder = build_encoder(tmp_path / "encoder")
        config = replace(config_for(encoder, model_dir), epochs=1, members=2)
        result = train_reward_model(config, data(), tmp_path / "out", Recorder())
        assert result.ensemble is not None
        assert result.ensemble.disagreement is not None
        every = Scorer(tmp_path / "out", batch_size=4)(ITEMS, Recorder())
        together = score(tmp_path / "out", ITEMS, batch_size=3, progress=Recorder())
        assert [sum(values) / 2 for values in every if values] == pytest.approx(together, abs=1e-5)
        assert all(values and values[0] != values[1] for values in every)


def rollouts(*texts: str) -> RolloutGroup:
    prompt = TrainPrompt("p", ITEMS[0].prompt)
    return RolloutGroup((9, 9, 9), tuple(Rollout(prompt, (1, 2, 3), text, finished=True) for text in texts))


class TestReward:
    def test_other_tokens_are_read_from_the_text(self, model_dir: Path, tmp_path: Path) -> None:
        """The policy's ids mean nothing to an encoder; a text beyond its window has no reward, others keep theirs."""
        encoder = build_encoder(tmp_path / "encoder")
        train_reward_model(replace(config_for(encoder, model_dir), epochs=1), data(), tmp_path / "out", Recorder())
        reward = RewardModelReward(tmp_path / "out", batch_size=2, rereads=True)
        texts = ["the moon moves", "the moon " * 300, "the sun falls, thank you"]
        short = [Conversation(ITEMS[0].prompt, text) for text in (texts[0], texts[2])]
        first, last = score(tmp_path / "out", short, batch_size=2, progress=Recorder())
        assert reward([rollouts(*texts)]) == [pytest.approx(first, abs=1e-5), None, pytest.approx(last, abs=1e-5)]

    def test_a_causal_backbone_of_another_template(self, model_dir: Path, tmp_path: Path) -> None:
        backbone = build_model(tmp_path / "backbone", template=CHATML_TEMPLATE.replace("<|im_start|>", "<|endoftext|>"))
        config = replace(config_for(backbone, model_dir), epochs=1)
        train_reward_model(config, data(), tmp_path / "out", Recorder())
        reward = RewardModelReward(tmp_path / "out", batch_size=2, rereads=True)
        expected = score(
            tmp_path / "out", [Conversation(ITEMS[0].prompt, "the moon")], batch_size=1, progress=Recorder()
        )
        assert reward([rollouts("the moon")]) == pytest.approx(expected, abs=1e-5)
