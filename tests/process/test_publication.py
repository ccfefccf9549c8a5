"""`kill -9` at every line of a publication (F20): what is visible is whole, and trying again succeeds."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.storage import ArtifactMissing, ArtifactStore, Manifest
from tests.process.killed_publication import KEY

FEWEST_LINES = 30


@dataclass(frozen=True)
class Left:
    """What one kill left: the store, and what a reader found in it, verified file by file."""

    store: ArtifactStore
    visible: Manifest | None

    @classmethod
    def at(cls, root: Path) -> Left:
        store = ArtifactStore(root)
        return cls(store, _published(store))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("source")
    (directory / "model.safetensors").write_bytes(bytes(range(256)) * 500)
    (directory / "config.json").write_text("{}")
    return directory


@pytest.fixture(scope="module")
def killed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Left]:
    """One for each line at which the publication was killed; the last one's came through."""
    directory = tmp_path_factory.mktemp("stores")
    argv = [sys.executable, "-m", "tests.process.killed_publication", str(source), str(directory)]
    subprocess.run(argv, check=True, timeout=120)
    return [Left.at(root) for root in sorted(directory.iterdir(), key=lambda root: int(root.name))]


class TestKill:
    def test_nothing_half_made_is_visible(self, killed: list[Left], source: Path) -> None:
        visible = [left.visible for left in killed]
        assert len(killed) > FEWEST_LINES
        assert set(visible) == {None, Manifest.of_directory(source)}
        assert visible == sorted(visible, key=lambda manifest: manifest is not None), "once visible, always visible"

    def test_again_it_succeeds(self, killed: list[Left], source: Path) -> None:
        for left in killed:
            assert left.store.publish(KEY, source) == left.store.verify(KEY) == Manifest.of_directory(source)


def _published(store: ArtifactStore) -> Manifest | None:
    try:
        return store.verify(KEY)
    except ArtifactMissing:
        return None
