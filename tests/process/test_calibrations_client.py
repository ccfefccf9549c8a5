"""The commands for calibrations and canaries, against the whole service."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.exits import Exit
from tests.process.client import Client
from tests.process.service import EXAMPLES, Service


@pytest.fixture
def client(service: Service, tmp_path: Path) -> Client:
    return Client(service, tmp_path)


def test_a_judge_is_measured_read_and_watched(client: Client, service: Service) -> None:
    labels = client.json("prompts", "upload", str(EXAMPLES / "labels.jsonl"), "--name", service.name("labels"))["id"]
    parts = service.parts_of_runs
    create = ("calibrations", "create", "by command", "--judge", parts.checks_judge, "--labels", labels)
    text = client(*create, "--rubric", parts.rubric, "--limit", "60")
    assert "Agreement with people" in text
    (listed,) = [row for row in service.pages("/v1/calibrations") if row["name"] == "by command"]
    assert listed["measured"]
    assert client("calibrations", "report", listed["id"], "--format", "markdown").startswith("# Calibration: ")
    canary = client.json("canaries", "create", "by command", "--baseline", listed["id"], "--every-hours", "24")
    assert canary["next_due_at"] is not None
    assert client.json("canaries", "stop", canary["id"])["next_due_at"] is None


def test_what_cannot_be_measured_is_a_failure(client: Client, service: Service) -> None:
    parts = service.parts_of_runs
    lines = client.write("one.jsonl", {"prompt": "What?", "chosen": "This.", "rejected": "That.", "split": "train"})
    one = client.json("prompts", "upload", lines, "--name", service.name("one"))["id"]
    create = ("calibrations", "create", "one", "--judge", parts.checks_judge, "--labels", one, "--rubric", parts.rubric)
    assert "too_few_labels" in client(*create, status=Exit.FAILURE)
