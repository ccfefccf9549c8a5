"""How a training's end becomes its stage's."""

from __future__ import annotations

from pathlib import Path

from workers.stages.training import trained
from workers.training.contracts import StateMismatch


class TestTrained:
    def test_another_trainings_state_is_discarded(self, tmp_path: Path) -> None:
        directory = tmp_path / "model"
        directory.mkdir()
        (directory / "state").touch()

        def train() -> str:
            if (directory / "state").exists():
                raise StateMismatch(directory)
            return "anew"

        assert trained(train, directory) == "anew"
