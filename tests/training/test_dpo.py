"""DPO: the loss against full logits written by hand and against TRL, and what comes out of a training."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from app.rlaif.preference_loss import LOSS_SETTINGS, PreferenceLoss
from tests.training.tiny import Recorder, build_model, make_pairs
from tests.training.trl_peer import TRL_SETTINGS, steps_alike, weights_alike
from workers.training.checkpoint import load_policy
from workers.training.completion_logprobs import CompletionScorer
from workers.training.contracts import NonFiniteLoss, NoTrainingData, PreferencePair
from workers.training.dpo import DPOConfig, DPOObjective, DPOResult, ReferencedPair, group_of, train_dpo
from workers.training.loop import epoch_batches
from workers.training.pairs import EncodedPair, PairEncoder


def config_for(model_dir: Path) -> DPOConfig:
    return DPOConfig(model_dir=model_dir, learning_rate=1e-3, epochs=2, batch_size=8, max_length=128, seed=3)


def encode_all(model_dir: Path, pairs: list[PreferencePair]) -> tuple[EncodedPair, ...]:
    policy = load_policy(model_dir)
    return PairEncoder(policy.tokenizer, policy.stop_ids, 128, close_truncated=False).encode_pairs(pairs).pairs


def objective_for(model_dir: Path, *, beta: float, sft_weight: float) -> DPOObjective:
    config = replace(config_for(model_dir), beta=beta, sft_weight=sft_weight)
    return DPOObjective.of(config, CompletionScorer(load_policy(model_dir).model))


def logprob_by_hand(model_dir: Path, prompt: tuple[int, ...], completion: tuple[int, ...]) -> tuple[float, int]:
    """Sum of log-probabilities from the full logits of one unpadded sequence, and the tokens summed over."""
    model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float64)
    with torch.no_grad():
        logits = model(torch.tensor([prompt + completion])).logits[0]
    logprobs = torch.log_softmax(logits, dim=-1)
    at = range(len(prompt), len(prompt) + len(completion))
    return sum(float(logprobs[i - 1, token]) for i, token in zip(at, completion, strict=True)), len(completion)


def loss_by_hand(model_dir: Path, items: list[ReferencedPair], *, beta: float, sft_weight: float) -> float:
    preference, nll, tokens = 0.0, 0.0, 0
    for item in items:
        p, weight = item.pair.probability, item.pair.weight
        ref_first, ref_second = item.reference
        first, first_tokens = logprob_by_hand(model_dir, item.pair.prompt, item.pair.first)
        second, second_tokens = logprob_by_hand(model_dir, item.pair.prompt, item.pair.second)
        z = beta * ((first - ref_first) - (second - ref_second))
        preference += weight * (p * math.log1p(math.exp(-z)) + (1 - p) * math.log1p(math.exp(z)))
        better, count = (first, first_tokens) if p >= 0.5 else (second, second_tokens)
        nll -= weight * abs(2 * p - 1) * better
        tokens += count
    return preference / len(items) + sft_weight * nll / tokens


class TestLoss:
    def test_soft_labels_equal_the_hand_written_loss(self, model_dir: Path) -> None:
        pairs = encode_all(model_dir, [*make_pairs(6), replace(make_pairs(1, seed=5)[0], id="tie", probability=0.5)])
        items = [ReferencedPair(pair, (-20.0 - index, -31.0 + 2 * index)) for index, pair in enumerate(pairs)]
        objective = objective_for(model_dir, beta=0.3, sft_weight=0.7)
        expected = loss_by_hand(model_dir, items, beta=0.3, sft_weight=0.7)
        assert objective(items).loss.item() == pytest.approx(expected, rel=1e-5)

    def test_swapping_the_sides_changes_nothing(self, model_dir: Path) -> None:
        items = [ReferencedPair(pair, (-20.0, -31.0)) for pair in encode_all(model_dir, make_pairs(6))]
        swapped = [
            ReferencedPair(
                replace(i.pair, first=i.pair.second, second=i.pair.first, probability=1 - i.pair.probability),
                i.reference[::-1],
            )
            for i in items
        ]
        objective = objective_for(model_dir, beta=0.3, sft_weight=0.7)
        there, back = objective(items), objective(swapped)
        assert there.loss.item() == pytest.approx(back.loss.item(), rel=1e-6)
        margins = [result.metrics["margin"].total.item() for result in (there, back)]
        assert margins[0] == pytest.approx(margins[1], rel=1e-5)

    def test_ties_are_in_no_figure_of_chosen_and_rejected(self, model_dir: Path) -> None:
        pairs = make_pairs(6)
        ties = [replace(pair, id=f"tie-{pair.id}", probability=0.5) for pair in pairs]
        objective = objective_for(model_dir, beta=0.3, sft_weight=0.7)
        items = [ReferencedPair(pair, (-20.0, -31.0)) for pair in encode_all(model_dir, [*pairs, *ties])]
        alone = objective([item for item in items if not item.pair.is_tie]).metrics
        mixed = objective(items).metrics
        assert mixed["preference_loss"].count == 12
        for name in ("chosen_logp", "rejected_logp", "chosen_reward", "rejected_reward", "margin", "accuracy"):
            assert mixed[name].count == 6
            assert mixed[name].total.item() == pytest.approx(alone[name].total.item(), rel=1e-5), name

    def test_a_head_that_scales_its_logits_is_scored_through_the_model(self, model_dir: Path) -> None:
        pair = encode_all(model_dir, make_pairs(1))[0]
        model = load_policy(model_dir).model
        model.register_forward_hook(lambda _module, _inputs, output: output | {"logits": output.logits * 0.5})
        ids = torch.tensor([pair.prompt + pair.first])
        halved = torch.log_softmax(model(ids).logits[0, :-1], dim=-1).gather(-1, ids[0, 1:, None])
        expected = halved[len(pair.prompt) - 1 :].sum().item()
        assert CompletionScorer(model).sums([group_of(pair, None)])[0].item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize(
        ("loss", "beta", "smoothing"),
        [("sigmoid", 0.1, 0.0), ("robust", 0.1, 0.2), ("ipo", 0.1, None), ("sigmoid_norm", 5.0, None)],
    )
    def test_hard_labels_equal_trl(
        self, loss: str, beta: float, smoothing: float | None, plain_model_dir: Path, tmp_path: Path
    ) -> None:
        """Every loss and gradient norm of an epoch, with the sft term, in TRL 1.16 on the same batches."""
        from datasets import Dataset
        from trl import DPOConfig as TRLConfig  # type: ignore[attr-defined]
        from trl import DPOTrainer  # type: ignore[attr-defined]

        pairs = make_pairs(32, hard=True)
        config = replace(
            config_for(plain_model_dir),
            loss=PreferenceLoss(loss),
            beta=beta,
            label_smoothing=smoothing,
            epochs=1,
            warmup_ratio=0.0,
            weight_decay=0.01,
            max_grad_norm=0.5,
        )
        progress = Recorder()
        train_dpo(config, pairs, tmp_path / "ours", progress)
        lengths = [pair.length for pair in encode_all(plain_model_dir, pairs)]
        order = [index for batch in epoch_batches(lengths, 8, seed=3, epoch=0) for index in batch]
        rows = [
            {
                "prompt": list(pairs[index].prompt),
                "chosen": [{"role": "assistant", "content": pairs[index].first}],
                "rejected": [{"role": "assistant", "content": pairs[index].second}],
            }
            for index in order
        ]
        trainer: Any = DPOTrainer(
            model=str(plain_model_dir),
            args=TRLConfig(
                output_dir=str(tmp_path / "trl"),
                loss_type=[loss, "sft"],
                loss_weights=[1.0, 0.5],
                beta=beta,
                label_smoothing=smoothing or 0.0,
                learning_rate=1e-3,
                weight_decay=0.01,
                max_grad_norm=0.5,
                per_device_train_batch_size=8,
                **TRL_SETTINGS,
            ),
            train_dataset=Dataset.from_list(rows),
        )
        trainer.train()
        ours, expected = steps_alike(trainer, progress)
        if not LOSS_SETTINGS[config.loss].by_token:  # TRL's rewards are sums even there
            assert [m["margin"] for m in ours] == pytest.approx([log["rewards/margins"] for log in expected], abs=1e-4)
        weights_alike(trainer, tmp_path / "ours")


@pytest.fixture(scope="module")
def trained(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[DPOResult, Path, Recorder]:
    out_dir, progress = tmp_path_factory.mktemp("dpo"), Recorder()
    pairs = make_pairs(64)
    alike = replace(pairs[0], id="alike", second=pairs[0].first)
    return train_dpo(config_for(model_dir), [*pairs, alike], out_dir, progress), out_dir, progress


class TestTraining:
    def test_every_parameter_moved(self, trained: tuple[DPOResult, Path, Recorder], model_dir: Path) -> None:
        before = AutoModelForCausalLM.from_pretrained(model_dir)
        after = dict(AutoModelForCausalLM.from_pretrained(trained[1]).named_parameters())
        for name, parameter in before.named_parameters():
            assert not torch.equal(parameter, after[name]), name

    def test_it_learned(self, trained: tuple[DPOResult, Path, Recorder]) -> None:
        result, _, progress = trained
        assert result.losses[-1] < result.losses[0]
        assert result.metrics["accuracy"] > 0.9
        assert result.metrics["margin"] > 0.3
        assert progress.steps[0][2]["margin"] == pytest.approx(0, abs=1e-5)

    def test_counts(self, trained: tuple[DPOResult, Path, Recorder]) -> None:
        result, _, progress = trained
        assert (result.pairs, result.steps, result.identical_pairs) == (64, 16, 1)
        assert [step for step, _, _ in progress.steps] == list(range(1, 17))
        assert {total for _, total, _ in progress.steps} == {16}
        assert tuple(metrics["loss"] for _, _, metrics in progress.steps) == result.losses
        last_epoch = [metrics["margin"] for _, _, metrics in progress.steps[8:]]
        assert result.metrics["margin"] == pytest.approx(sum(last_epoch) / 8)

    def test_the_model_is_a_plain_transformers_directory(
        self, trained: tuple[DPOResult, Path, Recorder], model_dir: Path
    ) -> None:
        out_dir = trained[1]
        assert {path.name for path in out_dir.iterdir() if path.is_file()} == {
            path.name for path in model_dir.iterdir()
        }
        tokenizer = AutoTokenizer.from_pretrained(out_dir)
        assert tokenizer.chat_template == AutoTokenizer.from_pretrained(model_dir).chat_template
        generation = AutoModelForCausalLM.from_pretrained(out_dir).generation_config
        assert generation.eos_token_id == [0, 3]

    def test_nothing_is_read_beyond_the_window(self, model_dir: Path, tmp_path: Path) -> None:
        """It has 256 positions, whatever max_length the recipe gives."""
        (pair, other, *rest) = make_pairs(5)
        overlong = replace(other, prompt=[{"role": "user", "content": "the moon " * 300}])
        config = replace(config_for(model_dir), epochs=1, max_length=1024)
        result = train_dpo(config, [replace(pair, first="the moon " * 300), overlong, *rest], tmp_path, Recorder())
        assert (result.pairs, result.truncated_pairs, result.overlong_prompts) == (4, 1, 1)

    def test_accumulated_batches_equal_one_large_batch(self, model_dir: Path, tmp_path: Path) -> None:
        """With equal lengths every order is as good, so the 4 batches of a step are the large batch."""
        pair = make_pairs(1)[0]
        pairs = [replace(pair, id=f"{i:02d}", probability=i / 20) for i in range(20)]
        config = replace(config_for(model_dir), epochs=1, sft_weight=0.0)
        whole = train_dpo(replace(config, batch_size=20), pairs, tmp_path / "whole", Recorder())
        parts = train_dpo(
            replace(config, batch_size=6, gradient_accumulation_steps=4), pairs, tmp_path / "parts", Recorder()
        )
        assert parts.steps == whole.steps == 1
        assert parts.losses == pytest.approx(whole.losses, rel=1e-5)


class TestRefusals:
    def test_no_data(self, model_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(NoTrainingData, match="0 pairs offered"):
            train_dpo(config_for(model_dir), [], tmp_path, Recorder())

    def test_not_finite_loss_stops_before_the_weights_are_touched(self, tmp_path: Path) -> None:
        model_dir = build_model(tmp_path / "model")
        config = replace(config_for(model_dir), learning_rate=1e30, max_grad_norm=1e30, save_steps=1, warmup_ratio=0.0)
        progress = Recorder()
        with pytest.raises(NonFiniteLoss, match=r"is (nan|inf) at step 1; lower learning_rate"):
            train_dpo(config, make_pairs(64), tmp_path / "out", progress)
        assert len(progress.steps) == 1
        assert not (tmp_path / "out" / "model.safetensors").exists()
