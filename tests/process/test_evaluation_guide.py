"""docs/evaluation.md, pasted into a shell against the whole service."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.process.service import Service

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "evaluation.md"


def test_guide_works_as_typed(service: Service, checked_run: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    script = "\n".join(re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL))
    known = {
        "RLAIF_URL": service.address,
        "RLAIF_API_KEY": service.api_key(),
        "RUN": checked_run,
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f'{script}\necho "$CHECKPOINT" "$AGAIN"\n'],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        cwd=tmp_path,
        env={**os.environ, **known},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    checkpoint, again = done.stdout.split()[-2:]
    (evaluation,) = service.get(f"/v1/runs/{again}/evaluations")["data"]
    assert evaluation["checkpoint_id"] == checkpoint == service.policy(checked_run)["id"]
    assert evaluation["metrics"]["promotion"]["promoted"] is False
    assert "By these gates the policy is held back." in done.stdout
    assert service.get(f"/v1/checkpoints/{checkpoint}")["promoted"] is True
    assert len(service.events(checked_run, "checkpoint.promoted")) == 1
