"""A reward model's scores for texts at hand, by the real processes: the same as its run's own, whoever is killed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.process.client import Client
from tests.process.service import Service
from tests.stack import wait_for

GUIDE = Path(__file__).parents[2] / "docs" / "training.md"


@pytest.fixture(scope="module")
def reward_model(running_service: Service, checked_run: str) -> str:
    rows = running_service.pages("/v1/checkpoints", run=checked_run)
    return str(next(row["id"] for row in rows if row["kind"] == "reward_model"))


def answers(service: Service, run_id: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The policy's answers of a run as conversations, and the reward that each had in its evaluation."""
    prompts = "SELECT id, messages FROM prompts"
    messages = {row.id: row.messages for row in service.rows(prompts)}
    rows = service.pages(f"/v1/runs/{run_id}/completions", source="policy")
    assert rows
    sent = [{"id": row["id"], "prompt": messages[row["prompt_id"]], "completion": row["text"]} for row in rows]
    return sent, {row["id"]: pytest.approx(row["reward"], abs=1e-4) for row in rows}


def start(service: Service, reward_model: str, sent: list[dict[str, Any]]) -> str:
    return str(service.post(f"/v1/checkpoints/{reward_model}/scores", {"conversations": sent})["id"])


def rewards(service: Service, run_id: str) -> dict[str, float]:
    return {row["external_id"]: row["reward"] for row in service.pages(f"/v1/runs/{run_id}/rewards")}


def test_a_text_gets_the_reward_that_it_had_in_its_run(service: Service, checked_run: str, reward_model: str) -> None:
    sent, expected = answers(service, checked_run)
    run = service.finished(start(service, reward_model, sent))
    assert rewards(service, run["id"]) == expected
    assert run["stages"][0]["metrics"] == {"scored": len(sent), "beyond_window": 0}
    assert run["total"]["judge_calls"] == 0


def test_killed_before_its_scores_are_written_it_ends_with_them(
    service: Service, checked_run: str, reward_model: str
) -> None:
    sent, expected = answers(service, checked_run)
    with service.held_up("completions") as somebody_waits:
        run_id = start(service, reward_model, sent)
        wait_for(somebody_waits, what="somebody about to write completions")
        service.kill("worker-gpu")
    service.start("worker-gpu")
    service.finished(run_id)
    assert [event["data"]["code"] for event in service.events(run_id, "shard.attempt_failed")] == ["lease_expired"]
    assert rewards(service, run_id) == expected


def test_cancelled_it_ends_so(service: Service, checked_run: str, reward_model: str) -> None:
    sent, _ = answers(service, checked_run)
    with service.held_up("completions") as somebody_waits:
        run_id = start(service, reward_model, sent)
        wait_for(somebody_waits, what="somebody about to write completions")
        service.post(f"/v1/runs/{run_id}:cancel")
    service.reaches(run_id, "cancelled")


def test_the_command(service: Service, reward_model: str, tmp_path: Path) -> None:
    client = Client(service, tmp_path)
    body = {"conversations": [{"id": "a", "prompt": "What is salt?", "completion": "A mineral."}]}
    client("checkpoints", "score", reward_model, client.write("c.json", body), "-o", "rewards.jsonl")
    (row,) = map(json.loads, (tmp_path / "rewards.jsonl").read_text().splitlines())
    assert row["external_id"] == "a"
    assert isinstance(row["reward"], float)


def test_guide_works_as_typed(service: Service, reward_model: str) -> None:
    section = GUIDE.read_text().partition("## Scores for texts at hand")[2].partition("\n## ")[0]
    (script,) = re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    known = {"RLAIF_URL": service.address, "RLAIF_API_KEY": service.api_key(), "REWARD_MODEL": reward_model}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **known, "NO_PROXY": "127.0.0.1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shown = {row["external_id"]: row["reward"] for row in map(json.loads, done.stdout.splitlines())}
    assert shown.keys() == {"polite", "curt"}
    assert shown["polite"] != shown["curt"]
