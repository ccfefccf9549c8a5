"""Where a shard's unfinished work lies between attempts: training state that the next holder goes on from."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

DAY_S = 24 * 3600.0


def scratch_directory(artifacts: Path, shard_id: str, token: int) -> Path:
    """The directory of one holder. It takes what the holder before it left by renaming that directory, which is at
    once the fence: a former holder that still lives finds its path gone."""
    home = artifacts / "scratch" / shard_id
    home.mkdir(parents=True, exist_ok=True)
    mine = home / str(token)
    if not mine.exists():
        _inherit(home, mine, token)
    mine.mkdir(exist_ok=True)
    return mine


def _inherit(home: Path, mine: Path, token: int) -> None:
    earlier = sorted((int(path.name) for path in home.iterdir() if path.name.isdecimal()), reverse=True)
    for number in earlier:
        if number < token:
            os.rename(home / str(number), mine)
            return


def forget(artifacts: Path, shard_id: str) -> None:
    """Remove what a finished shard left."""
    shutil.rmtree(artifacts / "scratch" / shard_id, ignore_errors=True)


def sweep(artifacts: Path, *, is_open: Callable[[str], bool], is_model: Callable[[str], bool]) -> None:
    """Remove what was left a day ago and belongs to nothing: publications that a kill cut off, scratch that no open
    shard needs, and the files of models whose registration was refused."""
    before = time.time() - DAY_S
    for unfinished in artifacts.rglob(".publishing-*"):
        _remove(unfinished, before)
    for scratch in (artifacts / "scratch").glob("*"):
        if not is_open(scratch.name):
            _remove(scratch, before)
    for model in (artifacts / "models").glob("*"):
        if not is_model(f"models/{model.name}"):
            _remove(model, before)


def _remove(directory: Path, before: float) -> None:
    if directory.stat().st_mtime < before:
        shutil.rmtree(directory, ignore_errors=True)
