"""Trainings that die by SIGKILL: `python -m tests.training.killed_training MODEL OUT METHOD:STEP ...`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from app.rlaif.health import Alarm
from tests.killed_line import die_in
from tests.training.tiny import make_demonstrations, make_pairs
from workers.training.contracts import Progress
from workers.training.dpo import DPOConfig, train_dpo
from workers.training.reward_model import RewardModelConfig, RewardModelData, train_reward_model
from workers.training.sft import SFTConfig, SFTData, train_sft

SAVE_STEPS = 3


def dpo_config(model_dir: Path) -> DPOConfig:
    return DPOConfig(model_dir=model_dir, learning_rate=1e-3, epochs=2, batch_size=8, save_steps=SAVE_STEPS, seed=5)


def reward_model_config(model_dir: Path) -> RewardModelConfig:
    return RewardModelConfig(
        model_dir=model_dir, learning_rate=1e-3, epochs=2, batch_size=8, save_steps=SAVE_STEPS, seed=5
    )


def sft_config(model_dir: Path) -> SFTConfig:
    return SFTConfig(model_dir=model_dir, learning_rate=1e-3, epochs=2, batch_size=8, save_steps=SAVE_STEPS, seed=5)


def train(method: str, model_dir: Path, out_dir: Path, progress: Progress) -> tuple[float, ...]:
    """Sixteen steps of `method`; the losses."""
    torch.set_num_threads(2)
    if method == "dpo":
        return train_dpo(dpo_config(model_dir), make_pairs(64), out_dir, progress).losses
    if method == "sft":
        demonstrations = SFTData(make_demonstrations(64), make_demonstrations(8, seed=1))
        return train_sft(sft_config(model_dir), demonstrations, out_dir, progress).losses
    data = RewardModelData(make_pairs(64), make_pairs(8, seed=1))
    return train_reward_model(reward_model_config(model_dir), data, out_dir, progress).losses


class KillAt:
    """A progress that kills its process when `step` is reported."""

    def __init__(self, step: int) -> None:
        self._step = step

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        if step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)

    def alarm(self, alarm: Alarm) -> None:
        raise AssertionError(alarm)

    def should_stop(self) -> bool:
        return False


def train_until(model_dir: Path, root: Path, name: str) -> None:
    method, step = name.split(":")
    if die_in(lambda: train(method, model_dir, root / name, KillAt(int(step)))) != signal.SIGKILL:
        raise RuntimeError(f"{name} was not killed")


if __name__ == "__main__":
    for argument in sys.argv[3:]:
        train_until(Path(sys.argv[1]), Path(sys.argv[2]), argument)
