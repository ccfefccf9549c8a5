"""Training states that survive `kill -9`: written aside, digested, synced, renamed; never pickled.

A directory `state-<step>` exists only complete. Each holds safetensors, JSON and a manifest of SHA-256 digests; the
loader takes the newest that verifies and says which it had to leave.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

_KEPT = 2
_MANIFEST = "manifest.json"
_TENSORS = "tensors.safetensors"
_POSITION = "position.json"

logger = logging.getLogger(__name__)


class CorruptState(Exception):
    """Raised when a state's files differ from its manifest; the loader falls back to the state before it."""

    def __init__(self, directory: Path, reason: str) -> None:
        super().__init__(f"{directory.name}: {reason}; it is ignored and the one before it used")


@dataclass(frozen=True)
class TrainingState:
    """Named tensors, and a JSON object that says where in the data and in which training they belong."""

    step: int
    tensors: Mapping[str, torch.Tensor]
    position: Mapping[str, Any]


@dataclass(frozen=True)
class LatestState:
    """The newest sound state, if any, and the reasons why newer ones were left."""

    state: TrainingState | None
    rejected: tuple[str, ...]


def save_state(root: Path, state: TrainingState) -> Path:
    """Publish `root/state-<step>` atomically and keep the last two; returns the directory."""
    target = root / f"state-{state.step:08d}"
    publish(target, state)
    steps = {path: _step_of(path) for path in _published(root)}
    older = sorted((path for path in steps if steps[path] <= state.step), reverse=True)
    newer = [path for path in steps if steps[path] > state.step]  # rejected when this training was resumed
    for path in (*older[_KEPT:], *newer):
        _remove(path)
    return target


def load_latest(root: Path) -> LatestState:
    """The newest state whose manifest verifies. Unpublished leftovers are not looked at."""
    rejected: list[str] = []
    for path in sorted(_published(root), reverse=True):
        try:
            return LatestState(read(path), tuple(rejected))
        except CorruptState as problem:
            logger.warning("%s", problem)
            rejected.append(str(problem))
    return LatestState(None, tuple(rejected))


def publish(target: Path, state: TrainingState) -> None:
    """Write a state's files beside `target`, sync them, and rename; an older `target` is replaced."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(".partial-*"):
        shutil.rmtree(leftover)
    partial = target.parent / f".partial-{target.name}"
    partial.mkdir()
    try:
        _write(partial, state)
    except Exception:
        shutil.rmtree(partial)
        raise
    if target.exists():
        _remove(target)
    partial.rename(target)
    _sync(target.parent)


def _write(partial: Path, state: TrainingState) -> None:
    save_file({name: tensor.detach().contiguous() for name, tensor in state.tensors.items()}, partial / _TENSORS)
    (partial / _POSITION).write_text(json.dumps({**state.position, "step": state.step}))
    files = {name: _describe(partial / name) for name in (_TENSORS, _POSITION)}
    (partial / _MANIFEST).write_text(json.dumps({"files": files}))
    for name in (*files, _MANIFEST, "."):
        _sync(partial / name)


def read(path: Path) -> TrainingState:
    """Verify and load one published state; raises `CorruptState`."""
    _verify(path)
    position = json.loads((path / _POSITION).read_text())
    return TrainingState(position.pop("step"), load_file(path / _TENSORS), position)


def _verify(path: Path) -> None:
    try:
        expected = json.loads((path / _MANIFEST).read_text())["files"]
        found = {name: _describe(path / name) for name in (_TENSORS, _POSITION)}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise CorruptState(path, f"unreadable ({problem})") from problem
    for name, description in found.items():
        if expected.get(name) != description:
            raise CorruptState(path, f"{name} does not match its manifest")


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


def _published(root: Path) -> list[Path]:
    return [path for path in root.glob("state-*") if path.is_dir()]


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("state-"))


def _remove(path: Path) -> None:
    """Unpublish by a rename first, so that a kill half-way leaves no half-empty state behind its name."""
    doomed = path.with_name(f".partial-removed-{path.name}")
    path.rename(doomed)
    shutil.rmtree(doomed)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
