"""A training that is killed, stopped or damaged ends with the losses and weights of one that is not: bit by bit."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.training.killed_training import SAVE_STEPS, dpo_config, train
from tests.training.test_state import flip_bit
from tests.training.tiny import Recorder, make_pairs
from workers.training.contracts import NonFiniteLoss, StateMismatch, TrainingStopped
from workers.training.dpo import train_dpo

STEPS = 16
METHODS = ("dpo", "reward_model", "sft")
KILLED_AT = {"first step": 1, "mid epoch 0": 5, "mid epoch 1": 12, "last step": STEPS}


@pytest.fixture(scope="module", params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def undisturbed(
    method: str, model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tuple[float, ...], bytes]:
    out_dir = tmp_path_factory.mktemp("undisturbed")
    losses = train(method, model_dir, out_dir, Recorder())
    assert len(losses) == STEPS
    return losses, weights(out_dir)


def weights(out_dir: Path) -> bytes:
    return (out_dir / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def killed(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`METHOD:STEP` directories, each of a training that was killed when it reported that step."""
    root = tmp_path_factory.mktemp("killed")
    names = [f"{method}:{step}" for method in METHODS for step in KILLED_AT.values()]
    command = [sys.executable, "-m", "tests.training.killed_training", str(model_dir), str(root), *names]
    subprocess.run(command, check=True, timeout=240)
    return root


class TestKill:
    @pytest.mark.parametrize("moment", KILLED_AT)
    def test_resumes_to_the_same_losses_and_weights(
        self, moment: str, method: str, model_dir: Path, killed: Path, undisturbed: tuple[tuple[float, ...], bytes]
    ) -> None:
        out_dir = killed / f"{method}:{KILLED_AT[moment]}"
        assert not (out_dir / "model.safetensors").exists()
        progress = Recorder()
        assert train(method, model_dir, out_dir, progress) == undisturbed[0]
        assert weights(out_dir) == undisturbed[1]
        saved = KILLED_AT[moment] if KILLED_AT[moment] == STEPS else KILLED_AT[moment] // SAVE_STEPS * SAVE_STEPS
        assert len(progress.steps) == STEPS - saved


class TestStop:
    def test_saves_raises_and_resumes(
        self, method: str, model_dir: Path, tmp_path: Path, undisturbed: tuple[tuple[float, ...], bytes]
    ) -> None:
        with pytest.raises(TrainingStopped, match="after step 7 of 16"):
            train(method, model_dir, tmp_path, Recorder(stop_after_reports=6))
        progress = Recorder()
        assert train(method, model_dir, tmp_path, progress) == undisturbed[0]
        assert weights(tmp_path) == undisturbed[1]
        assert [step for step, _, _ in progress.steps] == list(range(8, 17))

    def test_before_the_first_step(self, model_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingStopped, match="after step 0"):
            train("dpo", model_dir, tmp_path, Recorder(stop_at_poll=1))


class TestDamage:
    def test_the_state_before_is_used_and_reported(self, model_dir: Path, tmp_path: Path) -> None:
        expected = train("dpo", model_dir, tmp_path / "undisturbed", Recorder())
        with pytest.raises(TrainingStopped):
            train("dpo", model_dir, tmp_path / "damaged", Recorder(stop_after_reports=6))
        flip_bit(tmp_path / "damaged" / ".state" / "state-00000007" / "tensors.safetensors")
        result = train_dpo(dpo_config(model_dir), make_pairs(64), tmp_path / "damaged", Recorder())
        assert result.resumed_from == 6
        assert len(result.rejected_states) == 1
        assert result.losses == expected

    def test_a_damaged_reference_is_computed_again(self, model_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(TrainingStopped):
            train("dpo", model_dir, tmp_path, Recorder(stop_after_reports=6))
        (saved,) = (tmp_path / ".state" / "reference").iterdir()
        flip_bit(saved)
        expected = train("dpo", model_dir, tmp_path / "undisturbed", Recorder())
        assert train("dpo", model_dir, tmp_path, Recorder()) == expected


class TestEnds:
    def test_a_finished_training_is_not_repeated(self, model_dir: Path, tmp_path: Path) -> None:
        first = train("dpo", model_dir, tmp_path, Recorder())
        progress = Recorder()
        assert train("dpo", model_dir, tmp_path, progress) == first
        assert progress.steps == []

    def test_another_configuration_is_refused(self, model_dir: Path, tmp_path: Path) -> None:
        train("dpo", model_dir, tmp_path, Recorder())
        with pytest.raises(StateMismatch, match="its own out_dir"):
            train_dpo(replace(dpo_config(model_dir), beta=0.2), make_pairs(64), tmp_path, Recorder())

    def test_other_data_is_refused(self, model_dir: Path, tmp_path: Path) -> None:
        train("dpo", model_dir, tmp_path, Recorder())
        with pytest.raises(StateMismatch):
            train_dpo(dpo_config(model_dir), make_pairs(64, seed=1), tmp_path, Recorder())

    def test_a_loss_that_is_not_finite_leaves_the_last_sound_state(self, model_dir: Path, tmp_path: Path) -> None:
        config = replace(
            dpo_config(model_dir), learning_rate=1e30, max_grad_norm=1e30, warmup_ratio=0.0, save_steps=100
        )
        with pytest.raises(NonFiniteLoss):
            train_dpo(config, make_pairs(64), tmp_path, Recorder())
        assert [path.name for path in (tmp_path / ".state").iterdir()] == ["reference"]
        (saved,) = (tmp_path / ".state" / "reference").iterdir()
        assert load_file(saved)["logprobs"].isfinite().all()
