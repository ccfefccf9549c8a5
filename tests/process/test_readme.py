"""The README's walk-through, pasted into a shell against a running stack, on a recipe cut down to seconds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.stack import RealStack

ROOT = Path(__file__).parents[2]
PROMPTS = {"train": 8, "held_out": 4}


@pytest.fixture
def directory(tmp_path: Path, stack: RealStack) -> Path:
    """A directory that looks like a clone in which `rlaif up` runs: examples/ and rlaif-data/."""
    here = tmp_path / "clone"
    shutil.copytree(ROOT / "examples", here / "examples")
    _cut_down(here / "examples")
    (here / "rlaif-data").symlink_to(stack.home.root)
    stack.env["*"]["RLAIF_MODELS_DIR"] = str(here / "examples")
    stack.start("api", "relay", "worker-io", "worker-gpu")
    return here


def _cut_down(examples: Path) -> None:
    rows = [json.loads(line) for line in (examples / "prompts.jsonl").read_text().splitlines()]
    kept = [row for split, count in PROMPTS.items() for row in [r for r in rows if r["split"] == split][:count]]
    (examples / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    recipe = json.loads((examples / "recipe.json").read_text())
    recipe["sample"] |= {"max_new_tokens": 24}
    recipe["policy"] |= {"epochs": 1}
    recipe["reward_model"] |= {"epochs": 1}
    (examples / "recipe.json").write_text(json.dumps(recipe))


def walk_through() -> str:
    part = (ROOT / "README.md").read_text().split("<!-- walk-through: begin")[1].split("<!-- walk-through: end")[0]
    return "\n".join(re.findall(r"```bash\n(.*?)```", part, flags=re.DOTALL))


def test_walk_through_works_as_typed(directory: Path, stack: RealStack) -> None:
    script = walk_through().replace("http://127.0.0.1:8000", stack.address)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "\nsucceeded\n" in done.stdout
    assert "# Report: first" in done.stdout
    assert {"prompt", "chosen", "rejected"} <= set(
        json.loads((directory / "preferences.jsonl").read_text().splitlines()[0])
    )
    assert (directory / "checkpoint" / "model.safetensors").is_file()
