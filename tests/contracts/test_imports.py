"""What the API may import: neither torch nor a broker, and in one direction only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FORBIDDEN = ("torch", "transformers", "trl", "celery", "kombu", "redis", "accelerate", "datasets")


def test_a_fresh_interpreter_that_imports_the_api_has_neither_torch_nor_celery() -> None:
    code = "import json, sys, app.main; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    modules = json.loads(run.stdout)
    assert "app.services.runs" in modules
    assert [name for name in modules if name.partition(".")[0] in FORBIDDEN] == []


def test_the_import_contracts_hold() -> None:
    run = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))], capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout
