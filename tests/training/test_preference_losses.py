"""Each loss against its formula in plain Python, against TRL's trainer on the same batch, and in a training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from app.rlaif.preference_loss import LOSS_SETTINGS, PreferenceLoss
from app.rlaif.training import PolicyConfig
from tests.training.tiny import Recorder, make_pairs
from tests.training.trl_peer import TRL_SETTINGS
from workers.training.checkpoint import load_policy
from workers.training.completion_logprobs import CompletionScorer
from workers.training.contracts import NoTrainingData, PreferencePair
from workers.training.dpo import DPOConfig, DPOObjective, ReferencedPair, train_dpo, unrelated_completions
from workers.training.pairs import EncodedPair, PairEncoder
from workers.training.preference_losses import CompletionScores, PairLoss
from workers.training.reference import ReferenceCache

LOSSES = sorted(PreferenceLoss)
REWARD_FREE = 0.7  # what the third completion's ratio adds to the baseline


def pair_loss(name: str, **given: Any) -> PairLoss:
    config = PolicyConfig.model_validate({"loss": name, **given})
    return PairLoss(config.loss, config.beta, config.gamma, config.label_smoothing)


def one_pair(*, first: float = -12.0, second: float = -9.0) -> CompletionScores:
    """Four and six tokens; the reference prefers the first by two nats."""
    policy = torch.tensor([[first, second, -8.0]])
    reference = torch.tensor([[-11.0, -13.0, -8.0 - REWARD_FREE]])
    return CompletionScores(policy, reference, torch.tensor([[4, 6, 3]]))


def without_reference(scores: CompletionScores) -> CompletionScores:
    return replace(scores, reference=torch.zeros_like(scores.reference))


def s(x: float) -> float:
    return math.log1p(math.exp(-x))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


P = 0.8
Z = 0.1 * ((-12 + 11) - (-9 + 13))
U = (-12 + 11) / 4 - (-9 + 13) / 6
ODDS = [math.log(math.exp(m) / (1 - math.exp(m))) for m in (-12 / 4, -9 / 6)]
SIMPO = 2 * (-12 / 4 + 9 / 6)
BASELINE = 0.1 * REWARD_FREE
EXPECTED: dict[str, float] = {
    "sigmoid": P * s(Z) + (1 - P) * s(-Z),
    "robust": (P - 0.1) / 0.8 * s(Z) + (1 - P - 0.1) / 0.8 * s(-Z),
    "ipo": P * (U - 5) ** 2 + (1 - P) * (U + 5) ** 2,
    "sigmoid_norm": P * s(5 * U) + (1 - P) * s(-5 * U),
    "simpo": P * s(SIMPO - 1) + (1 - P) * s(-SIMPO - 1),
    "orpo": 0.1 * (P * s(ODDS[0] - ODDS[1]) + (1 - P) * s(ODDS[1] - ODDS[0])),
    "kto": 0.5
    * (
        P * (1 - sigmoid(-0.1 - BASELINE))
        + (1 - P) * (1 - sigmoid(BASELINE + 0.1))
        + (1 - P) * (1 - sigmoid(0.4 - BASELINE))
        + P * (1 - sigmoid(BASELINE - 0.4))
    ),
}


def loss_on(name: str, scores: CompletionScores, probability: float, **given: Any) -> float:
    loss = pair_loss(name, **given)
    seen = scores if LOSS_SETTINGS[loss.loss].has_reference else without_reference(scores)
    return loss(loss.rewards(seen), torch.tensor([probability])).item()


class TestFormula:
    @pytest.mark.parametrize("name", LOSSES)
    def test_by_hand(self, name: str) -> None:
        assert loss_on(name, one_pair(), P) == pytest.approx(EXPECTED[name], rel=1e-5)

    def test_smoothed_labels(self) -> None:
        """cDPO: a hard label of which a fifth is believed wrong is the soft label 0.8."""
        assert loss_on("sigmoid", one_pair(), 1.0, label_smoothing=0.2) == pytest.approx(EXPECTED["sigmoid"], rel=1e-5)

    @pytest.mark.parametrize("smoothing", [0.1, 0.3])
    def test_robust_is_the_clean_loss_on_average_over_wrong_labels(self, smoothing: float) -> None:
        right, wrong = (loss_on("robust", one_pair(), p, label_smoothing=smoothing) for p in (1.0, 0.0))
        clean = loss_on("sigmoid", one_pair(), 1.0)
        assert (1 - smoothing) * right + smoothing * wrong == pytest.approx(clean, rel=1e-5)

    @pytest.mark.parametrize("name", LOSSES)
    def test_swapping_the_sides_changes_nothing(self, name: str) -> None:
        there = one_pair()
        order = [1, 0, 2]
        back = CompletionScores(there.policy[:, order], there.reference[:, order], there.tokens[:, order])
        assert loss_on(name, there, 0.3) == pytest.approx(loss_on(name, back, 0.7), rel=1e-6)

    @pytest.mark.parametrize("name", LOSSES)
    def test_the_better_completion_gains(self, name: str) -> None:
        scores = one_pair()
        policy = scores.policy.clone().requires_grad_()
        loss = pair_loss(name)
        seen = scores if LOSS_SETTINGS[loss.loss].has_reference else without_reference(scores)
        rewards = loss.rewards(replace(seen, policy=policy))
        loss(rewards, torch.tensor([1.0])).sum().backward()  # type: ignore[no-untyped-call]
        assert policy.grad is not None
        assert policy.grad[0, 0] < 0 < policy.grad[0, 1]
        assert policy.grad[0, 2] == 0

    def test_odds_of_a_likelihood_near_one_and_near_zero(self) -> None:
        loss = pair_loss("orpo")
        rewards = loss.beta * torch.tensor([[-1e-6, -80.0]])
        assert loss(rewards, torch.tensor([0.0])).item() == pytest.approx(0.1 * (80 + 6 * math.log(10)), rel=1e-4)


def encode_all(model_dir: Path, pairs: Sequence[PreferencePair]) -> tuple[EncodedPair, ...]:
    policy = load_policy(model_dir)
    return PairEncoder(policy.tokenizer, policy.stop_ids, 128, close_truncated=False).encode_pairs(pairs).pairs


def objective(model_dir: Path, name: str, **given: Any) -> DPOObjective:
    return DPOObjective(CompletionScorer(load_policy(model_dir).model), pair_loss(name, **given), sft_weight=0.0)


def rows_of(pairs: Sequence[PreferencePair]) -> Iterator[dict[str, Any]]:
    for pair in pairs:
        chosen, rejected = ([{"role": "assistant", "content": text}] for text in (pair.first, pair.second))
        yield {"prompt": list(pair.prompt), "chosen": chosen, "rejected": rejected}


@pytest.fixture
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_silent")
class TestTRL:
    """The loss that TRL 1.16 logs at its first step, on one batch of eight pairs with hard labels."""

    def test_simpo(self, plain_model_dir: Path, tmp_path: Path) -> None:
        from datasets import Dataset
        from trl.experimental.cpo import CPOConfig, CPOTrainer

        pairs = make_pairs(8, hard=True)
        items = [ReferencedPair(pair, (0.0, 0.0)) for pair in encode_all(plain_model_dir, pairs)]
        settings = CPOConfig(
            output_dir=str(tmp_path),
            loss_type="simpo",
            beta=2.5,
            simpo_gamma=1.2,
            cpo_alpha=0.0,
            per_device_train_batch_size=8,
            gradient_checkpointing=False,
            remove_unused_columns=False,
            **TRL_SETTINGS,
        )
        policy = load_policy(plain_model_dir)
        trainer: Any = CPOTrainer(
            model=policy.model,
            args=settings,
            train_dataset=Dataset.from_list(list(rows_of(pairs))),
            processing_class=policy.tokenizer,
        )
        trainer.train()
        ours = objective(plain_model_dir, "simpo", beta=2.5, gamma=1.2)(items).loss
        assert ours.item() == pytest.approx(trainer.state.log_history[0]["loss"], rel=1e-4)

    def test_orpo(self, plain_model_dir: Path, tmp_path: Path) -> None:
        """Its odds-ratio term; TRL's likelihood term is over the prompt too, ours over the better completion."""
        from datasets import Dataset
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        pairs = make_pairs(8, hard=True)
        items = [ReferencedPair(pair, (0.0, 0.0)) for pair in encode_all(plain_model_dir, pairs)]
        settings = ORPOConfig(
            output_dir=str(tmp_path),
            beta=0.3,
            per_device_train_batch_size=8,
            gradient_checkpointing=False,
            remove_unused_columns=False,
            **TRL_SETTINGS,
        )
        policy = load_policy(plain_model_dir)
        trainer: Any = ORPOTrainer(
            model=policy.model,
            args=settings,
            train_dataset=Dataset.from_list(list(rows_of(pairs))),
            processing_class=policy.tokenizer,
        )
        trainer.train()
        logged = trainer.state.log_history[0]
        ours = objective(plain_model_dir, "orpo", beta=0.3)(items).loss
        assert ours.item() == pytest.approx(-0.3 * float(logged["log_odds_ratio"]), rel=1e-3)

    def test_kto(self, plain_model_dir: Path, tmp_path: Path) -> None:
        """TRL's batch of eight is our four pairs, each with two of the completions that TRL shifts."""
        from datasets import Dataset
        from trl import KTOConfig, KTOTrainer  # type: ignore[attr-defined]

        pairs = make_pairs(4, hard=True)
        encoded = encode_all(plain_model_dir, pairs)
        reference = load_policy(plain_model_dir).model
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in reference.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        singles: list[dict[str, Any]] = []
        for row in rows_of(pairs):
            singles += [
                {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
                for side in ("chosen", "rejected")
            ]
        settings = KTOConfig(
            output_dir=str(tmp_path / "trl"),
            beta=0.3,
            per_device_train_batch_size=8,
            remove_unused_columns=False,
            **TRL_SETTINGS,
        )
        policy = load_policy(plain_model_dir)
        trainer: Any = KTOTrainer(
            model=policy.model,
            ref_model=reference,
            args=settings,
            train_dataset=Dataset.from_list(singles),
            processing_class=policy.tokenizer,
        )
        trainer.train()
        logged = trainer.state.log_history[0]
        flat = [completion for pair in encoded for completion in (pair.first, pair.second)]
        shifted = [flat[-1], *flat[:-1]]
        scorer = CompletionScorer(reference)
        items = []
        for index, pair in enumerate(encoded):
            for other in shifted[2 * index : 2 * index + 2]:
                item = ReferencedPair(pair, (), other)
                items.append(replace(item, reference=tuple(scorer.sums([item.group]).tolist())))
        ours = objective(plain_model_dir, "kto", beta=0.3)(items)
        assert logged["kl"] > 0.1
        assert ours.loss.item() == pytest.approx(logged["loss"], rel=1e-4)


def config_for(model_dir: Path, name: str) -> DPOConfig:
    policy = PolicyConfig.model_validate({"loss": name})
    read = policy.model_dump(include={"loss", "beta", "sft_weight", "gamma", "label_smoothing"})
    return DPOConfig(model_dir=model_dir, learning_rate=1e-3, epochs=2, batch_size=8, max_length=128, seed=3, **read)


class TestTraining:
    @pytest.mark.parametrize("name", LOSSES)
    def test_it_learns_and_every_parameter_moves(self, name: str, model_dir: Path, tmp_path: Path) -> None:
        progress = Recorder()
        result = train_dpo(config_for(model_dir, name), make_pairs(64), tmp_path, progress)
        first, last = progress.steps[0][2], result.metrics
        assert last["preference_loss"] < first["preference_loss"]
        assert last["accuracy"] > max(0.7, first["accuracy"])
        assert ("reference_kl" in last) == LOSS_SETTINGS[PreferenceLoss(name)].has_reference
        before = AutoModelForCausalLM.from_pretrained(model_dir)
        after = dict(AutoModelForCausalLM.from_pretrained(tmp_path).named_parameters())
        for parameter, values in before.named_parameters():
            assert not torch.equal(values, after[parameter]), parameter

    @pytest.mark.parametrize("name", ["simpo", "orpo"])
    def test_without_a_reference_none_is_computed(self, name: str, model_dir: Path, tmp_path: Path) -> None:
        cache = ReferenceCache(tmp_path / "references", model="base")
        train_dpo(config_for(model_dir, name), make_pairs(8), tmp_path / "out", Recorder(), references=cache)
        assert not cache.directory.exists()


class TestUnrelated:
    def test_each_answers_another_prompt_and_fits(self, model_dir: Path) -> None:
        pairs = make_pairs(12)
        doubled = encode_all(model_dir, [*pairs, *(replace(pair, id=f"{pair.id}-again") for pair in pairs)])
        limit = max(len(pair.prompt) for pair in doubled) + 3
        for pair, other in zip(doubled, unrelated_completions(doubled, limit), strict=True):
            assert 0 < len(pair.prompt) + len(other) <= limit
            assert any(other == each.first[: len(other)] for each in doubled if each.prompt != pair.prompt)

    def test_one_prompt_is_refused(self, model_dir: Path, tmp_path: Path) -> None:
        alone = make_pairs(1)[0]
        pairs = [replace(alone, id=f"{index}", second=f"{alone.second} {'moon ' * index}") for index in range(4)]
        with pytest.raises(NoTrainingData, match="all of one prompt, and kto"):
            train_dpo(config_for(model_dir, "kto"), pairs, tmp_path, Recorder())
