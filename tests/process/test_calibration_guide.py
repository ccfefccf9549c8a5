"""docs/calibration.md, pasted into a shell against the whole service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.process.service import Service

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "calibration.md"


def test_guide_works_as_typed(service: Service, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    script = "\n".join(re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL))
    parts = service.parts_of_runs
    known = {
        "RLAIF_URL": service.address,
        "RLAIF_API_KEY": service.api_key(),
        "RUBRIC": parts.rubric,
        "PROMPTS": parts.prompt_set,
        "MODEL": parts.base_model,
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'{script}\necho "$RUN" "$CASCADE"\n'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, **known},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "# Calibration: by the rubric" in done.stdout
    refused = next(json.loads(line) for line in done.stdout.splitlines() if '"gate_failed"' in line)
    (shown,) = re.findall(r"```json\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert _figures(refused) == _figures(json.loads(shown)), refused
    run_id, cascade = done.stdout.split()[-2:]
    service.finished(run_id)
    assert service.get(f"/v1/judges/{cascade}")["family"] == "courtesy+rubric"


def _figures(problem: dict[str, Any]) -> list[tuple[str, float, float]]:
    """What failed, by how much, as the guide rounds it."""
    return [(each["gate"], round(each["value"], 3), each["limit"]) for each in problem["failures"]]
