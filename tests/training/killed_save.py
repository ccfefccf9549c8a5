"""Saves that die by SIGKILL at each of their lines: `python -m tests.training.killed_save TEMPLATE VICTIMS STEP ...`.

Imports everything first and computes nothing, so that each victim is a cheap fork.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch

from tests.killed_line import die_in, kill_at_line
from workers.training import state


def some_state(step: int) -> state.TrainingState:
    return state.TrainingState(step, {"weights": torch.full((1000,), float(step))}, {"fingerprint": "f"})


def save(root: Path, step: int, *, line: int) -> None:
    kill_at_line(state, line)
    state.save_state(root, some_state(step))


def saves(template: Path, victims: Path, step: int) -> None:
    """Save `step` over copies `victims/1`, `victims/2`, ... of `template`, each killed one line later."""
    for line in range(1, 1000):
        victim = victims / str(line)
        shutil.copytree(template, victim)
        if die_in(lambda victim=victim, line=line: save(victim, step, line=line)) == 0:  # type: ignore[misc]
            return
    raise RuntimeError(f"the save in {victim} has more than a thousand lines")


if __name__ == "__main__":
    for at in range(1, len(sys.argv), 3):
        saves(Path(sys.argv[at]), Path(sys.argv[at + 1]), int(sys.argv[at + 2]))
