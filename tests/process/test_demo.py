"""`rlaif demo` from nothing to its end, on examples cut down to seconds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.exits import Exit
from tests.process.service import EXAMPLES, RECIPE, few_prompts, merged


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    directory = tmp_path / "examples"
    shutil.copytree(EXAMPLES, directory)
    (directory / "prompts.jsonl").write_text("\n".join(few_prompts()))
    return directory


def demo(examples: Path, **recipe: Any) -> subprocess.CompletedProcess[str]:
    (examples / "recipe.json").write_text(json.dumps(merged(RECIPE, recipe)))
    output = examples.parent / "output"
    return subprocess.run(
        [sys.executable, "-P", "-m", "cli.main", "demo", "--examples", examples, "--output", output],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(examples.parent), "OMP_NUM_THREADS": "1"},
    )


def left_running(directory: Path) -> list[str]:
    """Processes that work in the demo's data directory, which lies in `directory`."""
    lines = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return [line for line in lines if str(directory) in line]


class TestDemo:
    def test_leaves_report_and_weights_and_nothing_running(self, examples: Path) -> None:
        done = demo(examples)
        assert done.returncode == Exit.OK, done.stdout + done.stderr
        assert "Win rates" in done.stdout
        assert "policy succeeded" in done.stdout
        output = examples.parent / "output"
        assert json.loads((output / "report.json").read_text())["run"]["status"] == "succeeded"
        assert (output / "checkpoint" / "model.safetensors").is_file()
        assert left_running(examples.parent) == []

    def test_failed_run_fails_the_command(self, examples: Path) -> None:
        done = demo(examples, prefer={"minimum_margin": 1.0}, stop_after="prefer")
        assert done.returncode == Exit.FAILURE
        assert "no_preferences" in done.stdout
        assert not (examples.parent / "output").exists()
        assert left_running(examples.parent) == []
