"""docs/people.md, pasted into a shell against the whole service, and a person who answers at the terminal."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.process.client import Client
from tests.process.service import Service

GUIDE = Path(__file__).parents[2] / "docs" / "people.md"


@pytest.fixture(scope="module")
def judged_run(running_service: Service) -> str:
    run_id = running_service.submit(recipe={"stop_after": "judge"}, evaluation_judge=None)
    return str(running_service.finished(run_id)["id"])


def test_guide_works_as_typed(service: Service, judged_run: str, tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"```bash\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL))
    known = {"RLAIF_URL": service.address, "RLAIF_API_KEY": service.api_key(), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **known, "RUN": judged_run, "RUBRIC": service.parts_of_runs.rubric},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (heard,) = [row for row in service.pages("/v1/runs") if row["name"] == "heard"]
    assert service.finished(heard["id"])["recipe"]["prefer"]["people"]["policy"] == "weighted"


def test_a_person_at_the_terminal(service: Service, judged_run: str, tmp_path: Path) -> None:
    client = Client(service, tmp_path)
    queue = client.json("annotations", "create", client.write("queue.json", {"rubric": service.parts_of_runs.rubric}))
    routed = client.json(
        "annotations",
        "route",
        queue["id"],
        "--run",
        judged_run,
        "--limit",
        "3",
        "--by",
        "low_margin=2",
        "--by",
        "random",
    )
    assert routed["by_reason"] == {"low_margin": 2, "random": 1}
    answering = ("annotations", "answer", queue["id"], "--annotator", "ada")
    assert "one of" in client(*answering, stdin="x\nt\ns\nharmful\nq\n")
    items = service.pages(f"/v1/annotation-queues/{queue['id']}/items")
    assert sorted(item["state"] for item in items) == ["adjudicate", "done", "open"]
    assert "nothing to answer now" in client(*answering, stdin="b\n")
    assert "nothing to answer now" in client(*answering[:-1], "cy", "--adjudicate", stdin="a\n")
    client("annotations", "download", queue["id"], "-o", "answers.jsonl")
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 4
    assert "ada" in client("annotations", "agreement", queue["id"])
    labels = client.json("annotations", "snapshot", queue["id"], "by hand")
    client("prompts", "download", labels["id"], "-o", "labels.jsonl")
    again = client.json("annotations", "create", client.write("again.json", {"rubric": service.parts_of_runs.rubric}))
    uploaded = client.json("annotations", "upload", again["id"], "labels.jsonl")
    assert uploaded["annotations_created"] == 3
