"""Saved states: a kill at any line of a save leaves one that loads, damage is found, and nothing is unpickled."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.killed_save import some_state
from workers.training.state import TrainingState, load_latest, publish, read, save_state


def saved(root: Path, *steps: int) -> Path:
    for step in steps:
        save_state(root, some_state(step))
    return root


def latest_step(root: Path) -> int | None:
    state = load_latest(root).state
    return None if state is None else state.step


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_tail(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


class TestRoundTrip:
    def test_tensors_and_position_come_back(self, tmp_path: Path) -> None:
        tensors = {"a": torch.randn(3, 4), "b": torch.arange(5, dtype=torch.uint8), "c": torch.tensor(1.5)}
        position = {"losses": [0.1, 1 / 3, 2e-300], "fingerprint": "x"}
        save_state(tmp_path, TrainingState(7, tensors, position))
        state = load_latest(tmp_path).state
        assert state is not None
        assert (state.step, state.position) == (7, position)
        assert all(torch.equal(state.tensors[name], tensor) for name, tensor in tensors.items())

    def test_nothing_saved(self, tmp_path: Path) -> None:
        assert load_latest(tmp_path / "absent").state is None

    def test_the_last_two_are_kept(self, tmp_path: Path) -> None:
        saved(tmp_path, 1, 2, 3, 10)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["state-00000003", "state-00000010"]


class TestDamage:
    @pytest.mark.parametrize("damage", [flip_bit, cut_tail, Path.unlink])
    @pytest.mark.parametrize("name", ["tensors.safetensors", "position.json", "manifest.json"])
    def test_falls_back_to_the_state_before_and_says_so(self, tmp_path: Path, damage: Any, name: str) -> None:
        saved(tmp_path, 1, 2)
        damage(tmp_path / "state-00000002" / name)
        latest = load_latest(tmp_path)
        assert latest.state is not None
        assert latest.state.step == 1
        assert len(latest.rejected) == 1
        assert latest.rejected[0].startswith("state-00000002: ")

    def test_a_damaged_state_is_not_kept_in_place_of_a_sound_one(self, tmp_path: Path) -> None:
        saved(tmp_path, 10, 20)
        flip_bit(tmp_path / "state-00000020" / "tensors.safetensors")
        saved(tmp_path, 15)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["state-00000010", "state-00000015"]

    def test_all_damaged(self, tmp_path: Path) -> None:
        saved(tmp_path, 1, 2)
        for path in tmp_path.iterdir():
            flip_bit(path / "position.json")
        latest = load_latest(tmp_path)
        assert latest.state is None
        assert len(latest.rejected) == 2


def victims_of(root: Path) -> list[Path]:
    victims = sorted(root.iterdir(), key=lambda path: int(path.name))
    assert len(victims) > 40  # one a line: the trace did see the save
    return victims


@pytest.fixture(scope="module")
def victims(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Directories in which a save of step 3 was killed: one a line, and one in which it was not."""
    root = tmp_path_factory.mktemp("killed")
    saved(root / "sound", 1, 2)
    saved(root / "damaged", 1, 2, 3)
    flip_bit(root / "damaged" / "state-00000003" / "tensors.safetensors")
    scenarios = [argument for name in ("sound", "damaged") for argument in (root / name, root / f"{name}-killed", "3")]
    subprocess.run([sys.executable, "-m", "tests.training.killed_save", *scenarios], check=True, timeout=120)
    return {name: victims_of(root / f"{name}-killed") for name in ("sound", "damaged")}


class TestKill:
    def test_at_every_line_a_state_loads_and_the_next_save_clears_the_rest(
        self, victims: dict[str, list[Path]]
    ) -> None:
        steps = []
        for victim in victims["sound"]:
            latest = load_latest(victim)
            assert latest.state is not None
            assert latest.rejected == ()
            assert torch.equal(latest.state.tensors["weights"], some_state(latest.state.step).tensors["weights"])
            steps.append(latest.state.step)
            saved(victim, 3, 4)
            assert sorted(path.name for path in victim.iterdir()) == ["state-00000003", "state-00000004"]
        assert steps == sorted(steps)
        assert set(steps) == {2, 3}

    def test_at_every_line_of_a_save_over_a_damaged_state(self, victims: dict[str, list[Path]]) -> None:
        assert {latest_step(victim) for victim in victims["damaged"]} == {2, 3}


class TestFullDisk:
    def test_a_failed_save_leaves_the_state_before_and_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saved(tmp_path, 1)

        def full(_handle: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match="No space left"):
                saved(tmp_path, 2)
        assert [path.name for path in tmp_path.iterdir()] == ["state-00000001"]
        assert latest_step(tmp_path) == 1


class Canary:
    """Unpickling this creates a file."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return Path.touch, (self.witness,)


class TestPickle:
    @pytest.mark.parametrize(
        "name", ["tensors.safetensors", "position.json", "optimizer.pt", "rng_state.pth", "training_args.bin"]
    )
    def test_a_canary_is_never_loaded(self, tmp_path: Path, name: str) -> None:
        root, witness = saved(tmp_path / "states", 1), tmp_path / "sung"
        (root / "state-00000001" / name).write_bytes(pickle.dumps(Canary(witness)))
        load_latest(root)
        assert not witness.exists()

    def test_the_canary_sings(self, tmp_path: Path) -> None:
        pickle.loads(pickle.dumps(Canary(tmp_path / "sung")))  # noqa: S301  our own bytes
        assert (tmp_path / "sung").exists()


class TestPublish:
    def test_replaces_what_was_there(self, tmp_path: Path) -> None:
        publish(tmp_path / "reference", some_state(1))
        publish(tmp_path / "reference", some_state(2))
        assert read(tmp_path / "reference").step == 2
