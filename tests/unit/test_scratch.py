"""What a shard leaves for its next holder, and for how long."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from workers.scratch import forget, scratch_directory, sweep

LONG_AGO = 1_000_000_000


def test_the_next_holder_finds_what_was_saved(tmp_path: Path) -> None:
    (scratch_directory(tmp_path, "shard_1", 1) / "state").write_text("step 7")

    assert (scratch_directory(tmp_path, "shard_1", 3) / "state").read_text() == "step 7"


def test_a_former_holder_can_no_longer_write(tmp_path: Path) -> None:
    former = scratch_directory(tmp_path, "shard_1", 1)
    scratch_directory(tmp_path, "shard_1", 2)

    with pytest.raises(FileNotFoundError):
        (former / "state").write_text("stale")


def test_a_former_holder_does_not_take_it_back(tmp_path: Path) -> None:
    (scratch_directory(tmp_path, "shard_1", 2) / "state").write_text("fresh")

    assert not (scratch_directory(tmp_path, "shard_1", 1) / "state").exists()


def test_a_finished_shard_leaves_nothing(tmp_path: Path) -> None:
    scratch_directory(tmp_path, "shard_1", 1)
    scratch_directory(tmp_path, "shard_2", 1)

    forget(tmp_path, "shard_1")

    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["shard_2"]


def test_sweep_takes_what_is_old_and_of_no_use(tmp_path: Path) -> None:
    published = tmp_path / "checkpoints" / "c1"
    published.mkdir(parents=True)
    cut = tmp_path / "checkpoints" / ".publishing-abc"
    fresh_cut = tmp_path / "checkpoints" / ".publishing-def"
    needed, useless = (scratch_directory(tmp_path, name, 1).parent for name in ("needed", "useless"))
    registered, refused = tmp_path / "models" / "registered", tmp_path / "models" / "refused"
    for directory in (registered, refused):
        directory.mkdir(parents=True)
    old = (published, cut, needed, useless, registered, refused)
    for directory in (*old, fresh_cut):
        directory.mkdir(exist_ok=True)
        os.utime(directory, (LONG_AGO, LONG_AGO))
    os.utime(fresh_cut)

    sweep(tmp_path, is_open=lambda shard_id: shard_id == "needed", is_model=lambda key: key == "models/registered")

    assert {path for path in (*old, fresh_cut) if path.exists()} == {published, fresh_cut, needed, registered}


def test_sweep_without_a_store_on_this_machine(tmp_path: Path) -> None:
    sweep(tmp_path / "elsewhere", is_open=lambda _: False, is_model=lambda _: False)
