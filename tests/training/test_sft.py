"""Supervised fine-tuning: the loss by hand and against TRL, and what comes out of a training."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.rlaif.training import LoraConfig
from tests.training.tiny import Recorder, make_demonstrations
from tests.training.trl_peer import TRL_SETTINGS, steps_alike, weights_alike
from workers.training.checkpoint import load_policy
from workers.training.completion_logprobs import CompletionScorer
from workers.training.contracts import Demonstration, NoTrainingData, TrainingStopped
from workers.training.loop import epoch_batches
from workers.training.sft import EncodedExample, SFTConfig, SFTData, SFTObjective, SFTResult, encode_examples, train_sft


def config_for(model_dir: Path) -> SFTConfig:
    return SFTConfig(model_dir=model_dir, learning_rate=1e-3, epochs=2, batch_size=8, max_length=128, seed=3)


def encode_all(model_dir: Path, demonstrations: list[Demonstration]) -> tuple[EncodedExample, ...]:
    return encode_examples(load_policy(model_dir), demonstrations, max_length=128).examples


def nll_by_hand(model_dir: Path, example: EncodedExample) -> float:
    """Sum over the answer's tokens, from the full logits of one unpadded sequence in float64."""
    model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float64)
    with torch.no_grad():
        logprobs = torch.log_softmax(model(torch.tensor([example.prompt + example.completion])).logits[0], dim=-1)
    start = len(example.prompt)
    return -sum(float(logprobs[start + at - 1, token]) for at, token in enumerate(example.completion))


class TestLoss:
    def test_it_is_the_mean_over_the_answers_tokens(self, model_dir: Path) -> None:
        batch = encode_all(model_dir, make_demonstrations(6))
        result = SFTObjective(CompletionScorer(load_policy(model_dir).model))(batch)
        tokens = sum(len(example.completion) for example in batch)
        expected = sum(nll_by_hand(model_dir, example) for example in batch) / tokens
        assert result.loss.item() == pytest.approx(expected, rel=1e-5)
        assert (result.metrics["nll"].total / result.metrics["nll"].count).item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("accumulation", [1, 2])
    def test_it_equals_trl(self, accumulation: int, plain_model_dir: Path, tmp_path: Path) -> None:
        """Every loss of an epoch, and the weights after it, in TRL 1.16 with its loss on completions alone.

        Answers are equally long where batches are accumulated: there TRL counts by tokens and we by answers.
        """
        from datasets import Dataset
        from trl import SFTConfig as TRLConfig  # type: ignore[attr-defined]
        from trl import SFTTrainer  # type: ignore[attr-defined]

        answers = make_demonstrations(32)
        if accumulation > 1:
            answers = [replace(each, completion="moon sun tide thank you") for each in answers]
        config = replace(
            config_for(plain_model_dir),
            epochs=1,
            gradient_accumulation_steps=accumulation,
            batch_size=8 // accumulation,
            warmup_ratio=0.0,
            weight_decay=0.01,
            max_grad_norm=0.5,
        )
        progress = Recorder()
        train_sft(config, SFTData(answers, []), tmp_path / "ours", progress)
        lengths = [example.length for example in encode_all(plain_model_dir, answers)]
        order = [index for batch in epoch_batches(lengths, config.batch_size, seed=3, epoch=0) for index in batch]
        rows = [
            {
                "prompt": list(answers[index].prompt),
                "completion": [{"role": "assistant", "content": answers[index].completion}],
            }
            for index in order
        ]
        trainer: Any = SFTTrainer(
            model=str(plain_model_dir),
            args=TRLConfig(
                output_dir=str(tmp_path / "trl"),
                completion_only_loss=True,
                learning_rate=1e-3,
                weight_decay=0.01,
                max_grad_norm=0.5,
                per_device_train_batch_size=config.batch_size,
                gradient_accumulation_steps=accumulation,
                **TRL_SETTINGS,
            ),
            train_dataset=Dataset.from_list(rows),
        )
        trainer.train()
        ours, expected = steps_alike(trainer, progress, loss="nll")
        assert ours[0]["nll"] == pytest.approx(expected[0]["loss"], rel=1e-5)
        weights_alike(trainer, tmp_path / "ours")


class TestExamples:
    def test_what_is_whole_ends_in_a_stop_token_and_what_is_cut_does_not(self, model_dir: Path) -> None:
        policy, given = load_policy(model_dir), make_demonstrations(1)[0]
        whole = encode_examples(policy, [given], max_length=128)
        unfinished = encode_examples(policy, [replace(given, finished=False)], max_length=128)
        full = whole.examples[0].completion
        short = encode_examples(policy, [given], max_length=len(whole.examples[0].prompt) + 3)
        assert full[-1] in policy.stop_ids
        assert unfinished.examples[0].completion == full[:-1]
        assert short.examples[0].completion == full[:3]
        assert (whole.cut, unfinished.cut, short.cut) == (0, 1, 1)

    def test_a_prompt_that_fills_the_length_is_left_out(self, model_dir: Path) -> None:
        given = make_demonstrations(2)
        given[0] = replace(given[0], prompt=[{"role": "user", "content": "moon " * 200}])
        encoded = encode_examples(load_policy(model_dir), given, max_length=128)
        assert ([each.id for each in encoded.examples], encoded.overlong_prompts) == ([given[1].id], 1)

    def test_nothing_to_learn_is_refused(self, model_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(NoTrainingData, match="bring demonstrations"):
            train_sft(config_for(model_dir), SFTData([], make_demonstrations(2)), tmp_path, Recorder())


@pytest.fixture(scope="module")
def trained(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SFTResult, Path, Recorder]:
    out_dir, progress = tmp_path_factory.mktemp("sft"), Recorder()
    data = SFTData(make_demonstrations(64), make_demonstrations(16, seed=1))
    return train_sft(config_for(model_dir), data, out_dir, progress), out_dir, progress


class TestTraining:
    def test_every_parameter_moved(self, trained: tuple[SFTResult, Path, Recorder], model_dir: Path) -> None:
        before = AutoModelForCausalLM.from_pretrained(model_dir)
        after = dict(AutoModelForCausalLM.from_pretrained(trained[1]).named_parameters())
        for name, parameter in before.named_parameters():
            assert not torch.equal(parameter, after[name]), name

    def test_held_out_answers_become_more_likely(
        self, trained: tuple[SFTResult, Path, Recorder], model_dir: Path
    ) -> None:
        result = trained[0]
        assert result.losses[-1] < result.losses[0]
        assert result.before is not None
        assert result.after is not None
        assert result.after.nll < 0.9 * result.before.nll
        assert result.after.perplexity == pytest.approx(math.exp(result.after.nll))
        held_out = encode_all(model_dir, make_demonstrations(16, seed=1))
        expected = sum(nll_by_hand(model_dir, example) for example in held_out)
        assert result.before.nll * result.before.tokens == pytest.approx(expected, rel=1e-4)
        assert (result.before.answers, result.after.tokens) == (16, result.before.tokens)

    def test_the_model_is_a_plain_transformers_directory(
        self, trained: tuple[SFTResult, Path, Recorder], model_dir: Path
    ) -> None:
        ours, base = (AutoTokenizer.from_pretrained(path) for path in (trained[1], model_dir))
        assert ours.chat_template == base.chat_template
        assert (trained[1] / "generation_config.json").read_bytes() == (
            model_dir / "generation_config.json"
        ).read_bytes()

    def test_without_held_out_answers_nothing_is_measured(self, model_dir: Path, tmp_path: Path) -> None:
        config = replace(config_for(model_dir), epochs=1)
        result = train_sft(config, SFTData(make_demonstrations(8), []), tmp_path, Recorder())
        assert (result.before, result.after, result.steps) == (None, None, 1)

    def test_a_stop_while_measuring_is_a_stop(self, model_dir: Path, tmp_path: Path) -> None:
        data = SFTData(make_demonstrations(8), make_demonstrations(4, seed=1))
        with pytest.raises(TrainingStopped):
            train_sft(config_for(model_dir), data, tmp_path, Recorder(stop_at_poll=1))


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft on transformers 5
@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_learn_and_are_merged(model_dir: Path, tmp_path: Path, checkpointing: bool) -> None:
    config = replace(
        config_for(model_dir),
        learning_rate=1e-2,
        lora=LoraConfig(rank=4),
        gradient_checkpointing=checkpointing,
    )
    data = SFTData(make_demonstrations(64), make_demonstrations(16, seed=1))
    result = train_sft(config, data, tmp_path, Recorder())
    assert result.before is not None
    assert result.after is not None
    assert result.after.nll < result.before.nll
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
    merged = load_policy(tmp_path)
    held_out = encode_examples(merged, data.held_out, max_length=128).examples
    with torch.no_grad():
        total = -float(CompletionScorer(merged.model).sums([example.group for example in held_out]).sum())
    assert total / result.after.tokens == pytest.approx(result.after.nll, rel=1e-4)
