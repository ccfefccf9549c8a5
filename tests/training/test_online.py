"""Online methods: every weight moves, the reward rises, nothing missing counts, and a resumed training is the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from app.rlaif.online_method import OnlineMethod
from tests.training.tiny import Recorder
from workers.training.advantages import generalised_advantages, group_advantages, leave_one_out, whitened
from workers.training.checkpoint import load_policy
from workers.training.completion_logprobs import CompletionScorer
from workers.training.contracts import NoTrainingData, RewardsMissing, TrainingStopped
from workers.training.experience import Experience
from workers.training.kl_control import KLControl
from workers.training.online import OnlineResult, train_online
from workers.training.online_config import OnlineConfig
from workers.training.online_objectives import GRPO, PPO, RLOO, OnlineDPO, Part
from workers.training.rewards import Reward, TextReward, WeightedReward
from workers.training.rollouts import Rollout, TrainPrompt
from workers.training.shared_prompts import PromptGroup

METHODS = tuple(OnlineMethod)
PROMPTS = [
    TrainPrompt(f"p{i}", [{"role": "user", "content": f"tell me about the {name}"}])
    for i, name in enumerate(("moon", "sun", "tide", "river", "stone", "cloud"))
]
NAN = float("nan")


def even(rollout: Rollout) -> float:
    """The share of even token ids: even a random model soon learns it."""
    return sum(token % 2 == 0 for token in rollout.ids) / len(rollout.ids)


def config(model_dir: Path, method: OnlineMethod, **changes: Any) -> OnlineConfig:
    settings: dict[str, Any] = {
        "steps": 4,
        "prompts_per_step": 3,
        "completions": 4,
        "max_new_tokens": 12,
        "batch_size": 2,
        "epochs": 1,
        "learning_rate": 5e-3,
        "max_length": 64,
        "seed": 5,
        "save_steps": 2,
    }
    return OnlineConfig(model_dir=model_dir, method=method, **(settings | changes))


def train(settings: OnlineConfig, out: Path, *, reward: Reward | None = None, progress: Any = None) -> OnlineResult:
    return train_online(settings, PROMPTS, reward or TextReward(even), out, progress or Recorder())


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")


class TestTraining:
    @pytest.mark.parametrize("method", METHODS)
    def test_every_weight_moves_and_the_figures_are_told(
        self, model_dir: Path, tmp_path: Path, method: OnlineMethod
    ) -> None:
        watch = Recorder()
        result = train(config(model_dir, method), tmp_path, progress=watch)
        before, after = weights(model_dir), weights(tmp_path)
        assert all(not torch.equal(before[name], after[name]) for name in before)
        assert (result.steps, result.prompts, result.rollouts, result.missing_rewards) == (4, 6, 48, 0)
        assert {"reward", "kl", "completion_tokens", "distinct", "finished", "beta"} <= result.metrics.keys()
        assert [step for step, _, _ in watch.steps] == [1, 2, 3, 4]

    @pytest.mark.parametrize("method", METHODS)
    def test_the_reward_rises(self, model_dir: Path, tmp_path: Path, method: OnlineMethod) -> None:
        watch = Recorder()
        strong: dict[str, Any] = {"steps": 20, "completions": 8, "learning_rate": 1e-2, "preference_scale": 20.0}
        settings = config(model_dir, method, beta=0.03, epochs=2 if method is OnlineMethod.PPO else 1, **strong)
        train(settings, tmp_path, progress=watch)
        rewards = [metrics["reward"] for _, _, metrics in watch.steps]
        assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.05

    def test_several_passes_and_minibatches(self, model_dir: Path, tmp_path: Path) -> None:
        settings = config(model_dir, OnlineMethod.PPO, epochs=2, minibatches=3, critic_learning_rate=1e-2)
        assert train(settings, tmp_path).metrics["value_loss"] > 0

    def test_parts_of_any_size_learn_the_same(self, model_dir: Path, tmp_path: Path) -> None:
        whole = train(config(model_dir, OnlineMethod.GRPO, batch_size=3, steps=1), tmp_path / "whole")
        parts = train(config(model_dir, OnlineMethod.GRPO, batch_size=1, steps=1), tmp_path / "parts")
        assert whole.losses == pytest.approx(parts.losses, abs=1e-5)


class TestResuming:
    @pytest.mark.parametrize("method", METHODS)
    def test_stopped_and_resumed_is_the_same_training(
        self, model_dir: Path, tmp_path: Path, method: OnlineMethod
    ) -> None:
        settings = config(model_dir, method, target_kl=0.5, save_steps=100)  # a stop saves, too
        whole = train(settings, tmp_path / "whole")
        with pytest.raises(TrainingStopped):
            train(settings, tmp_path / "cut", progress=Recorder(stop_after_reports=2))
        resumed = train(settings, tmp_path / "cut")
        assert resumed.resumed_from == 2
        assert resumed.losses == whole.losses
        first, second = weights(tmp_path / "whole"), weights(tmp_path / "cut")
        assert all(torch.equal(first[name], second[name]) for name in first)


class TestMissing:
    def test_a_rollout_without_a_reward_is_not_learned_from(self, model_dir: Path, tmp_path: Path) -> None:
        """What is drawn is seeded, so the same rollouts lack their reward in both trainings."""

        def some(score: Callable[[Rollout], float]) -> TextReward:
            return TextReward(lambda rollout: None if len(rollout.text) % 3 == 0 else score(rollout))

        settings = config(model_dir, OnlineMethod.GRPO, steps=1, beta=0.0)
        one = train(settings, tmp_path / "one", reward=some(even))
        assert 0 < one.missing_rewards < one.rollouts

    def test_a_training_without_any_reward_ends(self, model_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(RewardsMissing, match="3 steps"):
            train(config(model_dir, OnlineMethod.RLOO), tmp_path, reward=TextReward(lambda _: None))

    def test_prompts_without_room_are_left_out_and_counted(self, model_dir: Path, tmp_path: Path) -> None:
        long = TrainPrompt("long", [{"role": "user", "content": "moon " * 60}])
        settings = config(model_dir, OnlineMethod.GRPO, steps=1)
        result = train_online(settings, [*PROMPTS, long], TextReward(even), tmp_path, Recorder())
        assert (result.prompts, result.overlong_prompts) == (6, 1)
        with pytest.raises(NoTrainingData):
            train_online(settings, [long], TextReward(even), tmp_path / "none", Recorder())

    def test_a_sum_lacks_what_a_part_lacks(self) -> None:
        class Given:
            def __init__(self, *values: float | None) -> None:
                self._values = values

            def __call__(self, groups: Sequence[Any]) -> list[float | None]:
                return list(self._values)

        reward = WeightedReward({"model": (Given(1.0, None, 2.0), 0.5), "judge": (Given(4.0, 4.0, None), 2.0)})
        assert reward([]) == [8.5, None, None]


class TestControl:
    def test_training_ends_where_the_divergence_does(self, model_dir: Path, tmp_path: Path) -> None:
        result = train(config(model_dir, OnlineMethod.GRPO, steps=50, beta=0.0, max_kl=0.05), tmp_path)
        assert result.steps < 50
        assert result.stopped_at_kl is not None
        assert result.stopped_at_kl > 0.05

    def test_beta_follows_the_target(self) -> None:
        control = KLControl(0.1, 2.0)
        control.seen(20.0)
        assert control.beta == pytest.approx(0.1 * 1.02)
        control.seen(0.0)
        assert control.beta == pytest.approx(0.1 * 1.02 * 0.98)
        fixed = KLControl(0.1, None)
        fixed.seen(20.0)
        assert fixed.beta == 0.1


class TestAdvantages:
    def test_of_groups_by_hand(self) -> None:
        rewards = torch.tensor([[1.0, 2.0, 3.0], [5.0, NAN, 7.0], [4.0, NAN, NAN]])
        plain = group_advantages(rewards, scale=False)
        assert plain[0].tolist() == [-1.0, 0.0, 1.0]
        assert plain[1, 0] == -1.0
        assert plain[1, 1].isnan()
        assert plain[2].isnan().all()  # alone, it says nothing
        assert group_advantages(rewards, scale=True)[0].tolist() == pytest.approx([-1.0, 0.0, 1.0], abs=1e-3)

    def test_leave_one_out_by_hand(self) -> None:
        found = leave_one_out(torch.tensor([[1.0, 2.0, 6.0], [NAN, 1.0, 3.0]]))
        assert found[0].tolist() == [1.0 - 4.0, 2.0 - 3.5, 6.0 - 1.5]
        assert found[1, 1:].tolist() == [-2.0, 2.0]
        assert found[1, 0].isnan()

    @given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
    def test_generalised_advantages_are_their_definition(
        self, lengths: list[int], gamma: float, decay: float, seed: int
    ) -> None:
        rng = torch.Generator().manual_seed(seed)
        rewards, values = (torch.randn(len(lengths), max(lengths), generator=rng) for _ in range(2))
        found = generalised_advantages(rewards, values, torch.tensor(lengths), gamma=gamma, decay=decay)
        for row, length in enumerate(lengths):
            after = [*values[row, :length].tolist(), 0.0]
            delta = [float(rewards[row, t]) + gamma * after[t + 1] - after[t] for t in range(length)]
            wanted = [sum((gamma * decay) ** (k - t) * delta[k] for k in range(t, length)) for t in range(length)]
            assert found[row, :length].tolist() == pytest.approx(wanted, abs=1e-4)
            assert not found[row, length:].any()

    def test_whitening_looks_only_where_it_should(self) -> None:
        where = torch.tensor([[True, True, False]])
        found = whitened(torch.tensor([[1.0, 3.0, 100.0]]), where)
        assert found[0].tolist() == pytest.approx([-1.0, 1.0, 0.0])


def experience(rewards: torch.Tensor, **changes: Any) -> Experience:
    """Two groups of two rollouts, of 1 to 3 tokens, whose log-probabilities are those of their reference."""
    zeros = torch.zeros(4, 3)
    return replace(
        Experience(
            groups=(),
            rewards=rewards,
            policy=zeros - 1,
            reference=zeros - 1,
            values=zeros,
            lengths=torch.tensor([3, 1, 2, 3]),
            kept=torch.ones(4, dtype=torch.bool),
        ),
        **changes,
    )


class TestObjectives:
    REWARDS = torch.tensor([[1.0, 0.0], [0.5, 0.25]])

    def whole(self, policy: torch.Tensor) -> Part:
        return Part(slice(0, 4), policy, torch.zeros_like(policy))

    def test_ppo_is_rewarded_on_the_last_token(self) -> None:
        """With no look ahead and a critic that says nothing, only the token that ends an answer returns its score."""
        objective = PPO(0.2, 0.2, 0.1, gamma=1.0, decay=0.0)
        returns = objective.prepare(experience(self.REWARDS), beta=0.1).returns  # type: ignore[attr-defined]
        assert returns.tolist() == [[0, 0, 1.0], [0.0, 0, 0], [0, 0.5, 0], [0, 0, 0.25]]

    def test_ppo_pays_for_divergence_at_each_token(self) -> None:
        drifted = experience(torch.zeros(2, 2), reference=torch.full((4, 3), -1.5))
        objective = PPO(0.2, 0.2, 0.1, gamma=1.0, decay=0.0)
        returns = objective.prepare(drifted, beta=0.1).returns  # type: ignore[attr-defined]
        assert returns[0].tolist() == pytest.approx([-0.05] * 3)
        assert returns[1].tolist() == pytest.approx([-0.05, 0, 0])

    def test_grpo_by_hand(self) -> None:
        policy = torch.full((4, 3), -1.0, requires_grad=True)
        prepared = GRPO(0.2, scale_rewards=False).prepare(experience(self.REWARDS), beta=0.0)
        prepared.loss(self.whole(policy)).loss.backward()  # type: ignore[no-untyped-call]
        assert policy.grad is not None
        wanted = -torch.tensor([[0.5] * 3, [-0.5, 0, 0], [0.125, 0.125, 0], [-0.125] * 3]) / 9
        assert torch.allclose(policy.grad, wanted)

    def test_grpo_holds_to_the_reference(self) -> None:
        policy = torch.full((4, 3), -1.0, requires_grad=True)
        drifted = experience(torch.zeros(2, 2), reference=torch.full((4, 3), -1.5))
        loss = GRPO(0.2, scale_rewards=False).prepare(drifted, beta=2.0).loss(self.whole(policy)).loss
        assert loss.item() == pytest.approx(2.0 * (torch.exp(torch.tensor(-0.5)).item() + 0.5 - 1))

    def test_rloo_by_hand(self) -> None:
        inside = experience(self.REWARDS).inside
        prepared = RLOO(0.2).prepare(experience(self.REWARDS, policy=torch.full((4, 3), -1.0) * inside), beta=0.0)
        policy = torch.full((4, 3), -1.0, requires_grad=True)
        prepared.loss(self.whole(policy * inside)).loss.backward()  # type: ignore[no-untyped-call]
        wanted = -torch.tensor([[1.0] * 3, [-1.0, 0, 0], [0.25, 0.25, 0], [-0.25] * 3]) / 4
        assert policy.grad is not None
        assert torch.allclose(policy.grad, wanted)

    def test_online_dpo_by_hand(self) -> None:
        policy = torch.full((4, 3), -1.0)
        prepared = OnlineDPO(scale=2.0).prepare(experience(self.REWARDS), beta=0.5)
        wanted = torch.nn.functional.softplus(torch.tensor(0.0)).item()  # at its start a policy has no preference
        assert prepared.loss(self.whole(policy)).loss.item() == pytest.approx(wanted)
        better = policy.clone()
        better[0] += 1.0  # the chosen answer of the first prompt gains 3 nats, 1.5 in reward
        p = torch.sigmoid(torch.tensor([2.0, 0.5]))
        z = torch.tensor([1.5, 0.0])
        wanted = float((-(p * torch.nn.functional.logsigmoid(z) + (1 - p) * torch.nn.functional.logsigmoid(-z))).mean())
        assert prepared.loss(self.whole(better)).loss.item() == pytest.approx(wanted)

    @pytest.mark.parametrize("objective", [GRPO(0.2, scale_rewards=True), RLOO(0.2), PPO(0.2, 0.2, 0.1, 1.0, 0.95)])
    def test_what_is_left_out_has_no_gradient(self, objective: Any) -> None:
        kept = torch.tensor([True, False, True, True])
        policy = torch.full((4, 3), -1.0, requires_grad=True)
        prepared = objective.prepare(experience(self.REWARDS, kept=kept), beta=0.0)
        prepared.loss(self.whole(policy)).loss.backward()
        assert policy.grad is not None
        assert not policy.grad[1].any()
        assert policy.grad[0].any()

    @pytest.mark.parametrize(
        "objective", [GRPO(0.2, scale_rewards=True), RLOO(0.2), PPO(0.2, 0.2, 0.1, 1.0, 0.95), OnlineDPO(1.0)]
    )
    def test_without_rewards_there_is_nothing_to_learn(self, objective: Any) -> None:
        assert not objective.prepare(experience(torch.full((2, 2), NAN)), beta=0.1).learns
        assert objective.prepare(experience(self.REWARDS), beta=0.1).learns


@pytest.mark.parametrize("shares", [True, False])
def test_log_probabilities_by_token_add_up(model_dir: Path, shares: bool) -> None:
    scorer = CompletionScorer(load_policy(model_dir).model)
    scorer.shares_prompts = shares
    groups = [PromptGroup([5, 6, 7], [[8, 9], [10, 11, 12, 13]]), PromptGroup([14], [[15]])]
    with torch.no_grad():
        rows, sums = scorer.by_token(groups), scorer.sums(groups)
    assert rows.shape == (3, 4)
    assert torch.allclose(rows.sum(dim=1), sums, atol=1e-5)
    assert not rows[0, 2:].any()
    assert not rows[2, 1:].any()
