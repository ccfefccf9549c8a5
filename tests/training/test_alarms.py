"""A policy that flatters a small reward model is found out before its training ends; one that learns is let be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from app.rlaif.checks import score_completion
from app.rlaif.health import AlarmKind, OnAlarm, OnlineHealth, RewardHealth
from app.rlaif.online_method import OnlineMethod
from app.rlaif.rubric import Criterion, Rubric
from tests.training.tiny import Recorder, make_pairs
from workers.training.contracts import NonFiniteLoss, PreferencePair, TrainingStopped, TrainingUnhealthy
from workers.training.dpo import DPOConfig, train_dpo
from workers.training.looks import HeldOut, compared
from workers.training.online import OnlineResult, train_online
from workers.training.online_config import OnlineConfig
from workers.training.reward_model import RewardModelConfig, RewardModelData, train_reward_model
from workers.training.rewards import Reward, RewardModelReward, TextReward
from workers.training.rollouts import Rollout, TrainPrompt

EXAMPLES = Path(__file__).parents[2] / "examples"
ANSWERS = {"A": 1.0, "B": 0.0, "TIE": 0.5}
Json = dict[str, Any]


def rows(name: str) -> list[Json]:
    return [json.loads(line) for line in (EXAMPLES / name).read_text().splitlines()]


def labelled(row: Json) -> PreferencePair:
    """A pair of the example labels, with the share of readers who prefer the first."""
    shares = [ANSWERS[each["answer"]] for each in row["annotations"]]
    first, second = row["candidates"]
    return PreferencePair(row["id"], row["messages"], first, second, sum(shares) / len(shares))


def prompts(split: str) -> list[Json]:
    return [row for row in rows("prompts.jsonl") if row["split"] == split]


def asked(row: Json) -> TrainPrompt:
    return TrainPrompt(row["id"], row["messages"])


@pytest.fixture(scope="module")
def reward_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model of the demo's size, from 120 labelled pairs: one can learn from it, and fool it."""
    torch.set_num_threads(2)
    out = tmp_path_factory.mktemp("reward")
    config = RewardModelConfig(
        model_dir=EXAMPLES / "base_model", learning_rate=5e-4, epochs=4, batch_size=16, max_length=256, seed=1
    )
    pairs = [labelled(row) for row in rows("labels.jsonl")]
    train_reward_model(config, RewardModelData(train=pairs, held_out=pairs[:8]), out, Recorder())
    return out


def on_topic() -> Reward:
    """What the prompts' own criteria say of an answer: nobody rewards the policy for it."""
    criteria = {
        row["id"]: Rubric(criteria=tuple(map(Criterion.model_validate, row["criteria"]))) for row in prompts("held_out")
    }

    def score(rollout: Rollout) -> float:
        return score_completion(criteria[rollout.prompt.id], rollout.text, prompt="", reference=None).total

    return TextReward(score)


def grpo(**changes: Any) -> OnlineConfig:
    settings: Json = {
        "steps": 40,
        "prompts_per_step": 4,
        "completions": 8,
        "max_new_tokens": 32,
        "batch_size": 4,
        "epochs": 1,
        "max_length": 256,
        "mask_truncated": True,
        "seed": 3,
    }
    return OnlineConfig(model_dir=EXAMPLES / "base_model", method=OnlineMethod.GRPO, **(settings | changes))


def train(config: OnlineConfig, reward_dir: Path, out: Path, watch: Recorder) -> OnlineResult:
    held_out = HeldOut([asked(row) for row in prompts("held_out")[::7]], on_topic(), every=5)
    reward = RewardModelReward(reward_dir, batch_size=4)
    return train_online(config, [asked(row) for row in prompts("train")], reward, out, watch, held_out=held_out)


class TestCollapse:
    def test_ends_the_training_where_it_may(self, reward_dir: Path, tmp_path: Path) -> None:
        health = OnlineHealth(on={AlarmKind.COLLAPSE: OnAlarm.STOP})
        watch = Recorder()
        with pytest.raises(TrainingUnhealthy, match="collapse at step"):
            train(grpo(learning_rate=2e-3, beta=0.0, health=health), reward_dir, tmp_path, watch)
        alarms = {alarm.kind: alarm for alarm in watch.alarms}
        assert len(watch.alarms) == len(alarms), "each is raised once"
        assert alarms.keys() >= {AlarmKind.COLLAPSE, AlarmKind.REWARD_HACKING}
        assert watch.steps[-1][0] == alarms[AlarmKind.COLLAPSE].step < 40
        assert not (tmp_path / "model.safetensors").exists(), "nothing to publish"

    def test_is_not_seen_in_a_policy_that_learns(self, reward_dir: Path, tmp_path: Path) -> None:
        watch = Recorder()
        train(grpo(learning_rate=3e-4, beta=0.02, steps=32), reward_dir, tmp_path, watch)
        figures = [metrics for _, _, metrics in watch.steps]
        assert mean_of("reward", figures[-10:]) > mean_of("reward", figures[:10]) + 0.3, "it did learn"
        assert figures[-1]["held_out_judge_change"] > 0
        assert watch.alarms == []


def mean_of(name: str, figures: Sequence[Mapping[str, float]]) -> float:
    return sum(each[name] for each in figures) / len(figures)


class TestLikelihood:
    @pytest.mark.parametrize(("learning_rate", "told"), [(3e-3, [AlarmKind.CHOSEN_LOGPROB_FALLING]), (2e-4, [])])
    def test_of_the_better_completions(self, tmp_path: Path, learning_rate: float, told: list[AlarmKind]) -> None:
        config = DPOConfig(
            model_dir=EXAMPLES / "base_model",
            learning_rate=learning_rate,
            sft_weight=0.0,
            epochs=2,
            batch_size=8,
            max_length=256,
        )
        watch = Recorder()
        train_dpo(config, [labelled(row) for row in rows("labels.jsonl")], tmp_path, watch)
        assert [alarm.kind for alarm in watch.alarms] == told


def tiny(model_dir: Path, **changes: Any) -> OnlineConfig:
    """A training of the random model that soon goes far from where it began."""
    settings: Json = {
        "steps": 12,
        "prompts_per_step": 2,
        "completions": 4,
        "max_new_tokens": 12,
        "batch_size": 2,
        "epochs": 1,
        "learning_rate": 1e-2,
        "beta": 0.0,
        "max_length": 64,
        "save_steps": 100,
        "health": OnlineHealth(window=2, kl_per_token=1e-3, length_ratio=None, shared_ngrams=None),
    }
    return OnlineConfig(model_dir=model_dir, method=OnlineMethod.RLOO, **(settings | changes))


def wander(config: OnlineConfig, out: Path, watch: Recorder, *, looks: bool = False) -> OnlineResult:
    asked = [
        TrainPrompt(f"p{i}", [{"role": "user", "content": f"the {name}"}]) for i, name in enumerate(("moon", "sun"))
    ]
    reward = TextReward(lambda rollout: len(rollout.ids) + rollout.ids[0] / 1000)
    return train_online(config, asked, reward, out, watch, held_out=HeldOut(asked, reward, every=4) if looks else None)


class TestResuming:
    @pytest.mark.parametrize("stop", [3, 7])
    def test_the_same_alarms_at_the_same_steps(self, model_dir: Path, tmp_path: Path, stop: int) -> None:
        """A window spans the stop, and what was raised before it is told again: the first telling may be lost."""
        whole, cut, rest = Recorder(), Recorder(stop_after_reports=stop), Recorder()
        wander(tiny(model_dir), tmp_path / "whole", whole, looks=True)
        with pytest.raises(TrainingStopped):
            wander(tiny(model_dir), tmp_path / "cut", cut, looks=True)
        wander(tiny(model_dir), tmp_path / "cut", rest, looks=True)
        assert [alarm.kind for alarm in whole.alarms] == [AlarmKind.KL_EXPLODING]
        assert rest.alarms == whole.alarms
        assert cut.alarms == [alarm for alarm in whole.alarms if alarm.step <= stop]
        assert rest.steps[-1][2]["held_out_judge_change"] == whole.steps[-1][2]["held_out_judge_change"]

    def test_a_stopping_alarm_stops_again(self, model_dir: Path, tmp_path: Path) -> None:
        """A retry under the same settings must not train on past what stopped it."""
        config = tiny(model_dir, save_steps=1)
        config = replace(config, health=config.health.model_copy(update={"on_alarm": OnAlarm.STOP}))
        messages = []
        for _ in range(2):
            with pytest.raises(TrainingUnhealthy) as stopped:
                wander(config, tmp_path, Recorder())
            messages.append(str(stopped.value))
        assert messages[0] == messages[1]


class TestFigures:
    def test_every_trainer_says_what_people_watch(self, model_dir: Path, tmp_path: Path) -> None:
        dpo, reward, online = Recorder(), Recorder(), Recorder()
        train_dpo(DPOConfig(model_dir=model_dir, epochs=1), make_pairs(16), tmp_path / "dpo", dpo)
        data = RewardModelData(make_pairs(16), make_pairs(8, seed=1))
        train_reward_model(RewardModelConfig(model_dir=model_dir, epochs=1), data, tmp_path / "reward", reward)
        wander(replace(tiny(model_dir), method=OnlineMethod.ONLINE_DPO, steps=1), tmp_path / "online", online)
        everywhere = {"loss", "margin", "accuracy", "tokens_per_second", "memory_bytes"}
        paired = {"chosen_logp", "rejected_logp"}
        assert dpo.steps[0][2].keys() >= everywhere | paired | {"reference_kl", "chosen_tokens", "rejected_tokens"}
        assert reward.steps[0][2].keys() >= everywhere
        assert online.steps[0][2].keys() >= everywhere | paired | {"reward", "kl", "completion_tokens", "entropy"}
        assert all(watch.steps[0][2]["memory_bytes"] > 50e6 for watch in (dpo, reward, online))

    def test_an_ensembles_alarm_names_the_member(self, model_dir: Path, tmp_path: Path) -> None:
        health = RewardHealth(window=2, maximum_margin=1e-9)
        config = RewardModelConfig(
            model_dir=model_dir, learning_rate=1e-2, batch_size=4, epochs=3, members=2, health=health
        )
        watch = Recorder()
        train_reward_model(config, RewardModelData(make_pairs(16), make_pairs(8, seed=1)), tmp_path, watch)
        assert [(alarm.kind, alarm.member) for alarm in watch.alarms] == [
            (AlarmKind.MARGIN_EXPLODING, 0),
            (AlarmKind.MARGIN_EXPLODING, 1),
        ]

    def test_a_loss_that_is_not_finite_is_an_alarm(self, model_dir: Path, tmp_path: Path) -> None:
        watch = Recorder()
        with pytest.raises(NonFiniteLoss):
            train_dpo(DPOConfig(model_dir=model_dir, beta=1e38, learning_rate=1e30), make_pairs(64), tmp_path, watch)
        assert [alarm.kind for alarm in watch.alarms] == [AlarmKind.NOT_FINITE]


class TestLooks:
    def test_are_compared_prompt_by_prompt(self) -> None:
        found = compared({"a": 0.5, "b": 0.1, "gone": 1.0}, {"a": 0.25, "b": 0.05, "new": 0.0})
        assert found["held_out_judge"] == pytest.approx(0.15)
        assert found["held_out_judge_at_first"] == pytest.approx(0.3)
        assert found["held_out_judge_change"] == pytest.approx(-0.15)
        assert found["held_out_judge_error"] == pytest.approx(0.1)

    def test_say_nothing_of_one_prompt(self) -> None:
        assert compared({"a": 0.5, "b": 0.2}, {"a": 0.25}) == {}

    def test_a_rating_that_is_missing_is_not_zero(self, model_dir: Path, tmp_path: Path) -> None:
        asked = [TrainPrompt(f"p{i}", [{"role": "user", "content": "the moon"}]) for i in range(3)]
        judge = TextReward(lambda rollout: None if rollout.prompt.id == "p0" else 0.75)
        watch = Recorder()
        reward = TextReward(lambda rollout: float(len(rollout.ids)))
        train_online(tiny(model_dir, steps=2), asked, reward, tmp_path, watch, held_out=HeldOut(asked, judge, every=2))
        assert "held_out_judge" not in watch.steps[0][2]
        assert watch.steps[1][2]["held_out_judge"] == 0.75
