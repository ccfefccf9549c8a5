"""Several processes train as one does: the same losses and weights, and the same ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from app.rlaif.health import Alarm
from app.rlaif.preference_loss import PreferenceLoss
from app.rlaif.training import LoraConfig
from tests.training.tiny import Recorder, make_pairs
from workers.training import ranks
from workers.training.contracts import (
    Demonstration,
    NoTrainingData,
    Optimisation,
    PreferencePair,
    ProcessesRefused,
    Progress,
    RanksFailed,
    StateMismatch,
    TrainingStopped,
)
from workers.training.dpo import DPOConfig, DPOResult, train_dpo
from workers.training.launch import Processes, spread
from workers.training.reward_model import RewardModelConfig, RewardModelData, RewardModelResult, train_reward_model
from workers.training.sft import SFTConfig, SFTData, SFTResult, train_sft

STEPS = 8
FSDP2 = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
fsdp_config: {fsdp_version: 2, fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP, fsdp_reshard_after_forward: true}
mixed_precision: 'no'
num_machines: 1
num_processes: 2
use_cpu: true
"""

ZERO = """
compute_environment: LOCAL_MACHINE
distributed_type: DEEPSPEED
deepspeed_config: {{zero_stage: {stage}}}
mixed_precision: 'no'
num_machines: 1
num_processes: 2
use_cpu: true
"""

Train = Callable[[Path, Processes, Recorder], DPOResult | RewardModelResult | SFTResult]


@pytest.fixture(autouse=True)
def _one_thread_a_rank(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def fsdp2(tmp_path_factory: pytest.TempPathFactory) -> Processes:
    path = tmp_path_factory.mktemp("accelerate") / "fsdp2.yaml"
    path.write_text(FSDP2)
    return Processes(2, path)


def shared_settings(model_dir: Path) -> dict[str, Any]:
    """Batches of 8 in two halves; the last step of each of two epochs has one pair, which no two ranks can share."""
    settings = Optimisation(
        model_dir=model_dir, learning_rate=1e-3, epochs=2, batch_size=4, gradient_accumulation_steps=2, save_steps=3
    )
    names = ("model_dir", "learning_rate", "epochs", "batch_size", "gradient_accumulation_steps", "save_steps")
    return {name: getattr(settings, name) for name in names}


def dpo(model_dir: Path, **settings: Any) -> Train:
    config = DPOConfig(**shared_settings(model_dir) | settings)
    return lambda out_dir, processes, progress: spread(train_dpo, processes)(config, make_pairs(25), out_dir, progress)


def reward_model(model_dir: Path, **settings: Any) -> Train:
    config = RewardModelConfig(**shared_settings(model_dir) | settings)
    data = RewardModelData(make_pairs(25), make_pairs(8, seed=1))
    return lambda out_dir, processes, progress: spread(train_reward_model, processes)(config, data, out_dir, progress)


def sft(model_dir: Path) -> Train:
    config = SFTConfig(**shared_settings(model_dir))
    shown = [Demonstration(pair.id, pair.prompt, pair.first) for pair in make_pairs(33)]
    data = SFTData(shown[:25], shown[25:])
    return lambda out_dir, processes, progress: spread(train_sft, processes)(config, data, out_dir, progress)


METHODS: dict[str, Callable[[Path], Train]] = {
    "dpo": dpo,
    "kto": lambda model_dir: dpo(model_dir, loss=PreferenceLoss.KTO),
    "dpo on adapters": lambda model_dir: dpo(model_dir, lora=LoraConfig(rank=4, alpha=8)),
    "dpo with recomputed activations": lambda model_dir: dpo(model_dir, gradient_checkpointing=True),
    "reward model": reward_model,
    "sft": sft,
    "reward model of two": lambda model_dir: reward_model(model_dir, members=2),
}


def weights(out_dir: Path) -> dict[str, torch.Tensor]:
    files = sorted(out_dir.rglob("*.safetensors"))
    found = {
        f"{file.relative_to(out_dir)}:{name}": value
        for file in files
        if ".state" not in file.parts
        for name, value in load_file(file).items()
    }
    assert found
    return found


def assert_same_training(out_dir: Path, result: Any, expected_dir: Path, expected: Any) -> None:
    """Up to rounding: sums are taken in another order."""
    assert result.losses == pytest.approx(expected.losses, abs=1e-5)
    assert result.metrics == pytest.approx(expected.metrics, abs=1e-4)
    found, wanted = weights(out_dir), weights(expected_dir)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=2e-5, rtol=1e-4)
    if isinstance(expected, RewardModelResult):
        assert_same_measurement(result.held_out.model_dump(), expected.held_out.model_dump())


def assert_same_measurement(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.pop("held_out_accuracy") == expected.pop("held_out_accuracy")
    assert found == pytest.approx(expected, abs=1e-5)


class TestSameAsOneProcess:
    @pytest.mark.parametrize("method", METHODS)
    def test_two_processes(self, method: str, model_dir: Path, tmp_path: Path) -> None:
        train = METHODS[method](model_dir)
        expected = train(tmp_path / "one", Processes(), Recorder())
        progress = Recorder()
        result = train(tmp_path / "two", Processes(2), progress)
        assert_same_training(tmp_path / "two", result, tmp_path / "one", expected)
        assert [step for step, _, _ in progress.steps] == list(range(1, len(expected.losses) + 1))

    @pytest.mark.parametrize("method", ["dpo", "dpo on adapters", "dpo with recomputed activations", "reward model"])
    def test_a_model_sharded_over_two(self, method: str, model_dir: Path, tmp_path: Path, fsdp2: Processes) -> None:
        train = METHODS[method](model_dir)
        expected = train(tmp_path / "one", Processes(), Recorder())
        result = train(tmp_path / "two", fsdp2, Recorder())
        assert_same_training(tmp_path / "two", result, tmp_path / "one", expected)

    def test_three_processes(self, model_dir: Path, tmp_path: Path) -> None:
        expected = dpo(model_dir)(tmp_path / "one", Processes(), Recorder())
        result = dpo(model_dir)(tmp_path / "three", Processes(3), Recorder())
        assert_same_training(tmp_path / "three", result, tmp_path / "one", expected)


@dataclass(frozen=True)
class Slow:
    """A progress that gives others the time to do something at every step."""

    progress: Progress

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self.progress.report(step, total, metrics)
        time.sleep(0.4)

    def alarm(self, alarm: Alarm) -> None:
        self.progress.alarm(alarm)

    def should_stop(self) -> bool:
        return self.progress.should_stop()


def train_slowly(config: DPOConfig, data: Sequence[PreferencePair], out_dir: Path, progress: Progress) -> DPOResult:
    return train_dpo(config, data, out_dir, Slow(progress))


def slowly(model_dir: Path, out_dir: Path, processes: Processes, progress: Recorder) -> DPOResult:
    config = DPOConfig(**shared_settings(model_dir))
    return spread(train_slowly, processes)(config, make_pairs(25), out_dir, progress)


@dataclass
class KillsRank(Recorder):
    """Kills one rank, and not the first, when the fourth step is reported."""

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        super().report(step, total, metrics)
        if step == 4:
            (victim,) = [each for each in _ranks() if each.environ()["RANK"] == "1"]
            victim.kill()


def _ranks() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if "workers.training.rank" in each.cmdline()]


class TestStop:
    @pytest.mark.parametrize("resumed_in", [1, 2])
    def test_all_stop_at_one_step_and_go_on_to_the_same_end(
        self, resumed_in: int, model_dir: Path, tmp_path: Path
    ) -> None:
        expected = dpo(model_dir)(tmp_path / "one", Processes(), Recorder())
        with pytest.raises(TrainingStopped) as stopped:
            slowly(model_dir, tmp_path / "two", Processes(2), Recorder(stop_after_reports=2))
        assert stopped.value.step in {3, 4}
        assert str(stopped.value) == str(TrainingStopped(stopped.value.step, STEPS))
        saved = sorted(path.name for path in (tmp_path / "two" / ".state").glob("state-*"))
        assert saved[-1] == f"state-{stopped.value.step:08d}"
        result = dpo(model_dir)(tmp_path / "two", Processes(resumed_in), Recorder())
        assert result.resumed_from == stopped.value.step
        assert_same_training(tmp_path / "two", result, tmp_path / "one", expected)

    def test_a_sharded_training_goes_on_from_whole_states_and_saves_them(
        self, model_dir: Path, tmp_path: Path, fsdp2: Processes
    ) -> None:
        expected = dpo(model_dir)(tmp_path / "one", Processes(), Recorder())
        with pytest.raises(TrainingStopped):
            dpo(model_dir)(tmp_path / "two", Processes(), Recorder(stop_after_reports=1))
        with pytest.raises(TrainingStopped) as stopped:
            slowly(model_dir, tmp_path / "two", fsdp2, Recorder(stop_after_reports=2))
        result = dpo(model_dir)(tmp_path / "two", Processes(), Recorder())
        assert result.resumed_from == stopped.value.step > 3
        assert_same_training(tmp_path / "two", result, tmp_path / "one", expected)


class TestDeepSpeed:
    """Where deepspeed is installed; DS_ACCELERATOR=cpu lets it run without a GPU."""

    @pytest.fixture(params=[1, 2, 3])
    def zero(self, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processes:
        pytest.importorskip("deepspeed")
        monkeypatch.setenv("DS_ACCELERATOR", "cpu")
        (tmp_path / "zero.yaml").write_text(ZERO.format(stage=request.param))
        return Processes(2, tmp_path / "zero.yaml")

    @pytest.mark.parametrize("method", ["dpo", "dpo on adapters", "reward model of two"])
    def test_same_as_one_process(self, method: str, model_dir: Path, tmp_path: Path, zero: Processes) -> None:
        train = METHODS[method](model_dir)
        expected = train(tmp_path / "one", Processes(), Recorder())
        result = train(tmp_path / "two", zero, Recorder())
        assert_same_training(tmp_path / "two", result, tmp_path / "one", expected)

    def test_offload_is_refused(self, model_dir: Path, tmp_path: Path, zero: Processes) -> None:
        assert zero.accelerate_config is not None
        offloading = zero.accelerate_config.read_text().replace("}", ", offload_optimizer_device: cpu}")
        zero.accelerate_config.write_text(offloading)
        with pytest.raises(ProcessesRefused, match="offload_optimizer_device: none"):
            dpo(model_dir)(tmp_path / "two", zero, Recorder())

    def test_goes_on_from_whole_states_and_saves_them(self, model_dir: Path, tmp_path: Path, zero: Processes) -> None:
        expected = dpo(model_dir)(tmp_path / "one", Processes(), Recorder())
        with pytest.raises(TrainingStopped):
            dpo(model_dir)(tmp_path / "two", Processes(), Recorder(stop_after_reports=1))
        with pytest.raises(TrainingStopped) as stopped:
            slowly(model_dir, tmp_path / "two", zero, Recorder(stop_after_reports=2))
        result = dpo(model_dir)(tmp_path / "two", Processes(), Recorder())
        assert result.resumed_from == stopped.value.step > 3
        assert_same_training(tmp_path / "two", result, tmp_path / "one", expected)


class TestFailure:
    def test_a_killed_rank_ends_all_and_the_next_attempt_goes_on(self, model_dir: Path, tmp_path: Path) -> None:
        expected = dpo(model_dir)(tmp_path / "one", Processes(), Recorder())
        with pytest.raises(RanksFailed, match="rank 1 was killed by SIGKILL"):
            slowly(model_dir, tmp_path / "two", Processes(2), KillsRank())
        assert _ranks() == []
        result = dpo(model_dir)(tmp_path / "two", Processes(2), Recorder())
        assert result.resumed_from == 3
        assert_same_training(tmp_path / "two", result, tmp_path / "one", expected)

    def test_what_trainings_raise_is_raised_again(self, model_dir: Path, tmp_path: Path) -> None:
        ties = [replace(pair, probability=0.5) for pair in make_pairs(4)]
        config = DPOConfig(**shared_settings(model_dir))
        with pytest.raises(NoTrainingData) as refused:
            spread(train_dpo, Processes(2))(config, ties, tmp_path, Recorder())
        assert refused.value.offered == 4

    def test_another_trainings_state_is_refused(self, model_dir: Path, tmp_path: Path) -> None:
        dpo(model_dir)(tmp_path, Processes(), Recorder())
        with pytest.raises(StateMismatch):
            dpo(model_dir, beta=0.2)(tmp_path, Processes(2), Recorder())

    def test_anything_else_fails_with_its_trace(self, model_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(RanksFailed, match=r"rank \d raised OSError"):
            dpo(model_dir / "absent")(tmp_path, Processes(2), Recorder())


class TestRefused:
    @pytest.mark.parametrize(
        ("config", "why"),
        [
            ("distributed_type: DEEPSPEED\ndeepspeed_config: {zero_stage: 2}\n", "pip install deepspeed"),
            ("distributed_type: 'NO'\n", "distributed_type is NO"),
            ("distributed_type: FSDP\nfsdp_config: {fsdp_version: 1}\n", "fsdp_version: 2"),
            ("distributed_type: MULTI_GPU\nnum_machines: 2\nmachine_rank: 0\n", "one machine"),
            ("distributed_type: [\n", "cannot be read"),
            ("no_such_setting: 1\ndistributed_type: FSDP\n", "no_such_setting"),
        ],
    )
    def test_configuration(
        self, config: str, why: str, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("accelerate.utils.is_deepspeed_available", lambda: False)
        path = tmp_path / "accelerate.yaml"
        path.write_text(f"compute_environment: LOCAL_MACHINE\n{config}")
        with pytest.raises(ProcessesRefused, match=why):
            dpo(model_dir)(tmp_path / "out", Processes(2, path), Recorder())
        assert not (tmp_path / "out").exists()

    def test_absent_configuration(self, model_dir: Path, tmp_path: Path) -> None:
        with pytest.raises(ProcessesRefused, match=r"nowhere.yaml cannot be read"):
            dpo(model_dir)(tmp_path / "out", Processes(2, tmp_path / "nowhere.yaml"), Recorder())

    def test_more_processes_than_gpus(self, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        with pytest.raises(ProcessesRefused, match=r"sees 1 GPU\(s\)"):
            dpo(model_dir)(tmp_path / "out", Processes(2), Recorder())


class TestAlone:
    """Where nothing was launched, what is asked of the ranks costs nothing and changes no bit."""

    def test_part_is_the_batch(self) -> None:
        assert ranks.part_of([1, 2, 3]) == ranks.Part([1, 2, 3], 1.0, 1.0)

    def test_mean_and_ratio_are_plain(self) -> None:
        values = torch.tensor([0.1, 0.2, 0.7])
        assert torch.equal(ranks.mean(values), values.mean())
        assert torch.equal(
            ranks.ratio(values.sum(), values.numel() * values[0], items=3), values.sum() / (3 * values[0])
        )
