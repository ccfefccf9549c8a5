"""The reward model: which token it reads, its loss against hand and TRL, and its measurement."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.training.tiny import PLAIN_TEMPLATE, Recorder, build_model, make_pairs, score
from tests.training.trl_peer import TRL_SETTINGS, steps_alike
from workers.training.checkpoint import load_scalar_model
from workers.training.contracts import Conversation, NonFiniteLoss, NoTrainingData, TrainingStopped
from workers.training.figures import Figures
from workers.training.held_out import ScoredPair, mean_of, measure, measure_ensemble
from workers.training.loop import epoch_batches
from workers.training.pairs import EncodedPair, PairEncoder, encode_answer
from workers.training.reward_model import (
    RewardModelConfig,
    RewardModelData,
    RewardModelResult,
    RewardObjective,
    pair_rewards,
    train_reward_model,
)


def config_for(model_dir: Path) -> RewardModelConfig:
    return RewardModelConfig(model_dir=model_dir, learning_rate=2e-3, epochs=3, batch_size=8, max_length=128, seed=3)


@pytest.fixture(scope="module")
def trained(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RewardModelResult, Path]:
    out_dir = tmp_path_factory.mktemp("reward")
    held_out = make_pairs(60, seed=9)
    data = RewardModelData(make_pairs(96), [*held_out, replace(held_out[0], id="alike", second=held_out[0].first)])
    return train_reward_model(config_for(model_dir), data, out_dir, Recorder()), out_dir


def reward_by_hand(model_dir: Path, ids: list[int], *, at: int) -> float:
    """The head applied to the hidden state of one position of one unpadded sequence."""
    model = AutoModelForSequenceClassification.from_pretrained(model_dir, dtype=torch.float32)
    with torch.no_grad():
        hidden = model.model(torch.tensor([ids])).last_hidden_state[0, at]
        return float(model.score(hidden))


class TestScoredToken:
    @pytest.mark.parametrize("pad", ["<|pad|>", "<|im_end|>", "<|endoftext|>", None])
    def test_it_is_the_stop_token_of_the_answer(self, pad: str | None, tmp_path: Path) -> None:
        """Also where padding is a stop token, or missing, and where a line break follows in the template."""
        base = build_model(tmp_path / "base", pad=pad)
        reward_model = load_scalar_model(base, seed=1)
        assert reward_model.tokenizer.pad_token_id not in reward_model.stop_ids
        reward_model.model.save_pretrained(tmp_path / "reward")
        reward_model.tokenizer.save_pretrained(tmp_path / "reward")
        pairs = make_pairs(5)
        items = [Conversation(pair.prompt, pair.first) for pair in pairs]
        scores = score(tmp_path / "reward", items, batch_size=3, progress=Recorder())
        for item, value in zip(items, scores, strict=True):
            prompt, answer = encode_answer(reward_model.tokenizer, reward_model.stop_ids, item.prompt, item.completion)
            assert reward_model.tokenizer.decode(answer[-1:]) == "<|im_end|>"
            assert value == pytest.approx(reward_by_hand(tmp_path / "reward", prompt + answer, at=-1), abs=1e-5)

    def test_plain_transformers_reads_the_same(self, trained: tuple[RewardModelResult, Path]) -> None:
        tokenizer: Any = AutoTokenizer.from_pretrained(trained[1])
        model = AutoModelForSequenceClassification.from_pretrained(trained[1])
        items = [Conversation(pair.prompt, pair.second) for pair in make_pairs(6)]
        texts = [
            tokenizer.apply_chat_template(
                [*item.prompt, {"role": "assistant", "content": item.completion}], tokenize=False
            ).rstrip("\n")
            for item in items
        ]
        batch = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
        with torch.no_grad():
            values = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.squeeze(-1)
        assert score(trained[1], items, batch_size=4, progress=Recorder()) == pytest.approx(values.tolist(), abs=1e-5)

    def test_a_cut_completion_is_scored_on_a_stop_token_too(self, model_dir: Path) -> None:
        reward_model = load_scalar_model(model_dir)
        encoder = PairEncoder(reward_model.tokenizer, reward_model.stop_ids, 40, close_truncated=True)
        encoded = encoder.encode_pairs(make_pairs(40))
        assert encoded.truncated_pairs > 0
        assert {pair.first[-1] for pair in encoded.pairs} == {reward_model.tokenizer.eos_token_id}


class TestLoss:
    @pytest.mark.parametrize("margin", [0.0, 0.8])
    def test_soft_labels_equal_the_hand_written_loss(self, margin: float, model_dir: Path) -> None:
        reward_model = load_scalar_model(model_dir, seed=1)
        encoder = PairEncoder(reward_model.tokenizer, reward_model.stop_ids, 128, close_truncated=True)
        pairs = encoder.encode_pairs(make_pairs(7)).pairs
        expected = 0.0
        for pair in pairs:
            (first,), (second,) = (side.tolist() for side in pair_rewards(reward_model, [pair]))
            d, p = first - second, pair.probability
            m = margin * abs(2 * p - 1)
            expected += pair.weight * (p * math.log1p(math.exp(m - d)) + (1 - p) * math.log1p(math.exp(m + d)))
            expected += 0.05 * (first + second) ** 2
        loss = RewardObjective(reward_model, centering=0.05, margin=margin)(pairs).loss
        assert loss.item() == pytest.approx(expected / 7, rel=1e-5)

    def test_accuracy_and_margin_are_of_decided_pairs_however_they_are_batched(
        self, model_dir: Path, tmp_path: Path
    ) -> None:
        """A step of eight batches of one: with ties among them, its figures are those of the decided pairs."""
        decided = make_pairs(5)
        ties = [replace(pair, id=f"tie-{pair.id}", probability=0.5) for pair in make_pairs(3, seed=4)]
        config = replace(config_for(model_dir), epochs=1, batch_size=1, gradient_accumulation_steps=8)
        result = train_reward_model(config, RewardModelData([*decided, *ties], []), tmp_path, Recorder())
        start = load_scalar_model(model_dir, seed=config.seed)
        encoder = PairEncoder(start.tokenizer, start.stop_ids, 128, close_truncated=True)
        pairs = encoder.encode_pairs(decided).pairs
        first, second = (side.tolist() for side in pair_rewards(start, pairs))
        margins = [
            (a - b) * (1 if pair.probability > 0.5 else -1) for pair, a, b in zip(pairs, first, second, strict=True)
        ]
        assert result.metrics["margin"] == pytest.approx(sum(margins) / 5, abs=1e-6)
        assert result.metrics["accuracy"] == pytest.approx(sum(margin > 0 for margin in margins) / 5)

    def test_ties_alone_have_no_accuracy(self, model_dir: Path) -> None:
        start = load_scalar_model(model_dir, seed=1)
        encoder = PairEncoder(start.tokenizer, start.stop_ids, 128, close_truncated=True)
        ties = encoder.encode_pairs([replace(pair, probability=0.5) for pair in make_pairs(3)]).pairs
        figures = Figures()
        metrics = RewardObjective(start, centering=0.0, margin=0.0)(ties).metrics
        figures.add({name: (mean.total.item(), mean.count.item()) for name, mean in metrics.items()})
        assert figures.means().keys() == {"preference_loss", "mean_reward"}

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("margin", [0.0, 0.8])
    def test_hard_labels_equal_trl(self, margin: float, tmp_path: Path) -> None:
        """Every loss and gradient norm of an epoch in TRL 1.16, on the same batches from the same head."""
        from datasets import Dataset
        from trl import RewardConfig, RewardTrainer  # type: ignore[attr-defined]

        base = build_model(tmp_path / "base", template=PLAIN_TEMPLATE)
        start = load_scalar_model(base, seed=3)
        start.model.save_pretrained(tmp_path / "start")
        start.tokenizer.save_pretrained(tmp_path / "start")
        pairs = make_pairs(32, hard=True)
        config = replace(config_for(base), epochs=1, warmup_ratio=0.0, margin=margin)
        progress = Recorder()
        train_reward_model(config, RewardModelData(pairs, []), tmp_path / "ours", progress)
        encoder = PairEncoder(start.tokenizer, start.stop_ids, 128, close_truncated=True)
        lengths = [pair.length for pair in encoder.encode_pairs(pairs).pairs]
        order = [index for batch in epoch_batches(lengths, 8, seed=3, epoch=0) for index in batch]
        rows = [
            {
                "prompt": list(pairs[index].prompt),
                "chosen": [{"role": "assistant", "content": pairs[index].first}],
                "rejected": [{"role": "assistant", "content": pairs[index].second}],
                "margin": margin,
            }
            for index in order
        ]
        trainer = RewardTrainer(
            model=str(tmp_path / "start"),
            args=RewardConfig(
                output_dir=str(tmp_path / "trl"),
                center_rewards_coefficient=0.01,
                learning_rate=2e-3,
                per_device_train_batch_size=8,
                **TRL_SETTINGS,
            ),
            train_dataset=Dataset.from_list(rows),
        )
        trainer.train()
        steps_alike(trainer, progress)


class TestTraining:
    def test_every_parameter_moved(self, trained: tuple[RewardModelResult, Path], model_dir: Path) -> None:
        before = load_scalar_model(model_dir, seed=3).model
        after = dict(AutoModelForSequenceClassification.from_pretrained(trained[1]).named_parameters())
        for name, parameter in before.named_parameters():
            assert not torch.equal(parameter, after[name]), name

    def test_it_learned(self, trained: tuple[RewardModelResult, Path]) -> None:
        held_out = trained[0].held_out
        assert held_out.held_out_accuracy is not None
        assert held_out.held_out_accuracy.value > 0.8
        assert held_out.held_out_accuracy.low > 0.5
        assert (trained[0].pairs, held_out.held_out_pairs, trained[0].held_out_left_out) == (96, 60, 1)
        assert trained[0].steps == len(trained[0].losses) == 36

    def test_scores_keep_the_order_of_the_items(self, trained: tuple[RewardModelResult, Path]) -> None:
        items = [Conversation(pair.prompt, pair.first) for pair in make_pairs(10)]
        there = score(trained[1], items, batch_size=4, progress=Recorder())
        back = score(trained[1], items[::-1], batch_size=3, progress=Recorder())
        assert there == pytest.approx(back[::-1], abs=1e-5)

    def test_scoring_stops_between_batches(self, trained: tuple[RewardModelResult, Path]) -> None:
        items = [Conversation(pair.prompt, pair.first) for pair in make_pairs(10)]
        progress = Recorder(stop_after_reports=2)
        with pytest.raises(TrainingStopped, match="after step 8 of 10"):
            score(trained[1], items, batch_size=4, progress=progress)
        assert [(done, total) for done, total, _ in progress.steps] == [(4, 10), (8, 10)]

    def test_what_exceeds_the_window_has_no_score(self, trained: tuple[RewardModelResult, Path]) -> None:
        short, *_ = [Conversation(pair.prompt, pair.first) for pair in make_pairs(1)]
        long = Conversation(short.prompt, "the moon " * 200)
        alone, beyond = score(trained[1], [short, long], batch_size=4, progress=Recorder())
        assert beyond is None
        assert [alone] == pytest.approx(score(trained[1], [short], batch_size=4, progress=Recorder()), abs=1e-5)

    def test_nothing_is_read_beyond_the_window(self, model_dir: Path, tmp_path: Path) -> None:
        """It has 256 positions, whatever max_length the recipe gives."""
        (pair, *rest) = make_pairs(4)
        data = RewardModelData([replace(pair, first="the moon " * 300), *rest], [])
        config = replace(config_for(model_dir), epochs=1, max_length=1024)
        assert train_reward_model(config, data, tmp_path, Recorder()).truncated_pairs == 1

    def test_no_data(self, model_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(NoTrainingData, match="0 pairs offered"):
            train_reward_model(config_for(model_dir), RewardModelData([], []), tmp_path, Recorder())

    def test_not_finite_loss(self, model_dir: Path, tmp_path: Path) -> None:
        config = replace(config_for(model_dir), learning_rate=1e30, max_grad_norm=1e30, warmup_ratio=0.0)
        with pytest.raises(NonFiniteLoss, match="at step 1"):
            train_reward_model(config, RewardModelData(make_pairs(32), []), tmp_path, Recorder())


def scored(prompt: int, probability: float, tokens: tuple[int, int], rewards: tuple[float, float]) -> ScoredPair:
    pair = EncodedPair("x", (prompt,), (1,) * tokens[0], (1,) * tokens[1], probability, 1.0)
    return ScoredPair(pair, *rewards)


class TestMeasure:
    PAIRS = (
        scored(1, 0.9, (5, 3), (2.0, 0.0)),  # right, the longer is better
        scored(1, 0.2, (5, 3), (1.0, 0.0)),  # wrong, the shorter is better
        scored(2, 0.1, (4, 2), (-3.0, 1.0)),  # right, the shorter is better
        scored(2, 0.8, (2, 2), (0.5, 0.5)),  # undecided by reward and by length
        scored(3, 0.5, (9, 1), (9.0, 0.0)),  # a tie: in no accuracy
    )

    def test_figures(self) -> None:
        metrics = measure(self.PAIRS, seed=0)
        assert metrics.held_out_accuracy is not None
        assert (metrics.held_out_accuracy.value, metrics.held_out_accuracy.n) == (2.5 / 4, 4)
        assert metrics.held_out_accuracy.low < 2.5 / 4 < metrics.held_out_accuracy.high
        assert metrics.prefer_longer_accuracy == 1.5 / 4
        assert metrics.shorter_right_accuracy == 1 / 2
        assert metrics.held_out_pairs == 5

    def test_calibration_error(self) -> None:
        """Four bins of one pair each: |right - confidence|, averaged."""
        confidences = [(1, 2.0), (0, 1.0), (1, 4.0), (0.5, 0.0)]
        expected = sum(abs(right - 1 / (1 + math.exp(-margin))) for right, margin in confidences) / 4
        assert measure(self.PAIRS, seed=0).ece == pytest.approx(expected)

    def test_swapping_the_sides_changes_nothing(self) -> None:
        swapped = [
            ScoredPair(
                replace(i.pair, first=i.pair.second, second=i.pair.first, probability=1 - i.pair.probability),
                i.second,
                i.first,
            )
            for i in self.PAIRS
        ]
        there, back = measure(self.PAIRS, seed=0), measure(swapped, seed=0)
        assert there.model_dump(exclude={"length_correlation"}) == back.model_dump(exclude={"length_correlation"})
        assert there.length_correlation == pytest.approx(back.length_correlation)

    def test_only_ties(self) -> None:
        metrics = measure(self.PAIRS[-1:], seed=0)
        assert metrics.held_out_accuracy is None
        assert metrics.ece is metrics.shorter_right_accuracy is None
        assert metrics.held_out_pairs == 1

    def test_nothing_held_out(self) -> None:
        assert measure([], seed=0).length_correlation is None


@pytest.fixture(scope="module")
def ensemble(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RewardModelResult, Path, Recorder]:
    out_dir, progress = tmp_path_factory.mktemp("ensemble"), Recorder()
    data = RewardModelData(make_pairs(48), make_pairs(30, seed=9))
    config = replace(config_for(model_dir), epochs=1, members=3)
    return train_reward_model(config, data, out_dir, progress), out_dir, progress


class TestEnsemble:
    def test_members_differ_and_each_is_a_plain_model(self, ensemble: tuple[RewardModelResult, Path, Recorder]) -> None:
        result, out_dir, _ = ensemble
        heads = [
            AutoModelForSequenceClassification.from_pretrained(path).score.weight
            for path in (out_dir, out_dir / "members" / "1", out_dir / "members" / "2")
        ]
        assert not torch.equal(heads[0], heads[1])
        assert not torch.equal(heads[1], heads[2])
        assert result.ensemble is not None
        assert (result.ensemble.members, len(result.ensemble.member_accuracies)) == (3, 3)

    def test_the_first_member_is_the_model_without_an_ensemble(
        self, ensemble: tuple[RewardModelResult, Path, Recorder], model_dir: Path, tmp_path: Path
    ) -> None:
        alone = train_reward_model(
            replace(config_for(model_dir), epochs=1), RewardModelData(make_pairs(48), []), tmp_path, Recorder()
        )
        assert alone.losses == ensemble[0].losses[: alone.steps]
        assert alone.ensemble is None

    def test_the_score_is_the_mean(self, ensemble: tuple[RewardModelResult, Path, Recorder], tmp_path: Path) -> None:
        items = [Conversation(pair.prompt, pair.first) for pair in make_pairs(5, seed=9)]
        together = score(ensemble[1], items, batch_size=4, progress=Recorder())
        shutil.copytree(ensemble[1], tmp_path / "first", ignore=shutil.ignore_patterns("members", ".state"))
        every = [tmp_path / "first", *(ensemble[1] / "members").iterdir()]
        apart = [score(path, items, batch_size=4, progress=Recorder()) for path in every]
        for value, single in zip(together, zip(*apart, strict=True), strict=True):
            assert value == pytest.approx(sum(each for each in single if each is not None) / 3, abs=1e-5)

    def test_progress_counts_the_steps_of_all(self, ensemble: tuple[RewardModelResult, Path, Recorder]) -> None:
        assert [step for step, _, _ in ensemble[2].steps] == list(range(1, 19))
        assert {total for _, total, _ in ensemble[2].steps} == {18}
        assert ensemble[0].steps == len(ensemble[0].losses) == 18

    def test_stopped_within_the_second_it_goes_on_there(
        self, ensemble: tuple[RewardModelResult, Path, Recorder], model_dir: Path, tmp_path: Path
    ) -> None:
        data = RewardModelData(make_pairs(48), make_pairs(30, seed=9))
        config = replace(config_for(model_dir), epochs=1, members=3)
        with pytest.raises(TrainingStopped):
            train_reward_model(config, data, tmp_path, Recorder(stop_after_reports=8))
        progress = Recorder()
        result = train_reward_model(config, data, tmp_path, progress)
        assert result.losses == ensemble[0].losses
        assert (result.resumed_from, progress.steps[0][0]) == (9, 10)
        assert result.held_out == ensemble[0].held_out

    def test_disagreement(self) -> None:
        """Of three decided pairs the members differ on one; a tie counts nowhere."""
        first = [
            scored(1, 0.9, (5, 3), (2.0, 0.0)),
            scored(1, 0.2, (5, 3), (1.0, 0.0)),
            scored(2, 0.9, (4, 2), (1.0, 0.0)),
        ]
        tie = scored(3, 0.5, (4, 2), (9.0, 0.0))
        second = [*first[:2], replace(first[2], first=-1.0)]
        metrics = measure_ensemble([[*first, tie], [*second, tie]], seed=0)
        assert (metrics.members, metrics.member_accuracies) == (2, [2 / 3, 1 / 3])
        assert metrics.disagreement == pytest.approx(1 / 3)
        assert metrics.margin_deviation == pytest.approx((0 + 0 + 1.0) / 3)
        assert mean_of([first, second])[2].first == 0.0

    def test_only_ties(self) -> None:
        ties = [scored(3, 0.5, (4, 2), (9.0, 0.0))]
        metrics = measure_ensemble([ties, ties], seed=0)
        assert (metrics.disagreement, metrics.margin_deviation, metrics.member_accuracies) == (None, None, [])
