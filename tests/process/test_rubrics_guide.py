"""The commands of docs/rubrics.md, pasted into a shell against a running stack."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.process.service import Service

ROOT = Path(__file__).parents[2]


def test_the_guides_commands_work_as_typed(service: Service, tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"```bash\n(.*?)```", (ROOT / "docs/rubrics.md").read_text(), flags=re.DOTALL))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "rlaif-data").mkdir()
    (tmp_path / "rlaif-data/api-key").write_text(service.api_key())
    script = script.replace("http://127.0.0.1:8000", service.address)
    script = script.replace(
        "@examples/rubric.json", f"@<(sed 's/courteous-and-brief/{service.name('guide')}/' examples/rubric.json)"
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace('"programs"', f'"{service.name("guide")}"')],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for kind in ("vague", "compound", "contradictory"):
        assert f'"kind":"{kind}"' in done.stdout
    assert '{"findings":[]}' in done.stdout
    assert "'total': 3, 'passed': 3" in done.stdout
