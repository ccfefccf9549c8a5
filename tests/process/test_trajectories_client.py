"""The commands for trajectories, against the whole service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.exits import Exit
from tests.process.client import Client
from tests.process.service import Service

BOOKED = {"name": "booked", "description": "Says so.", "check": {"kind": "words", "any_of": ["booked"]}}
TASKS: list[dict[str, Any]] = [
    {
        "id": f"seat-{seat}",
        "prompt": f"Seat {seat}, please.",
        "split": "train",
        "candidates": ["It is booked.", "It is booked.", "It is booked.", "No."],
        "authors": ["new", "new", "old", "old"],
        "outcomes": [True, True, False, False],
    }
    for seat in range(3)
]


@pytest.fixture
def client(service: Service, tmp_path: Path) -> Client:
    return Client(service, tmp_path)


def test_agents_are_measured_shown_and_exported(client: Client, service: Service) -> None:
    tasks = client.write("tasks.jsonl", "\n".join(map(json.dumps, TASKS)))
    body = {
        "name": "seats",
        "prompt_set": client.json("prompts", "upload", tasks, "--name", service.name("seats"))["id"],
        "judge": _judge(service),
    }
    found = client.json("trajectories", "evaluate", client.write("body.json", body))
    by_author = {each["author"]: each for each in found["metrics"]["authors"]}
    assert [each["value"]["value"] for each in by_author["new"]["pass_hat"]] == [1.0, 1.0]
    assert [each["value"]["value"] for each in by_author["old"]["pass_hat"]] == [0.5, 0.0]
    assert found["metrics"]["overall"]["gold"]["accuracy"]["value"] == 0.75
    table = client("trajectories", "show", found["run_id"])
    assert ["old", "0.500", "0.500..0.500", "6", "0", "0.500", "0.000", "0.000", "0.000", "0.500"] in [
        line.split()[:10] for line in table.splitlines()
    ]
    client("trajectories", "export", found["run_id"], "-o", "outcomes.jsonl")
    rows = [json.loads(line) for line in (client.directory / "outcomes.jsonl").read_text().splitlines()]
    assert sum(row["succeeded"] for row in rows) == 9
    assert {row["author"] for row in rows} == {"new", "old"}


def test_what_cannot_be_judged_is_refused(client: Client, service: Service) -> None:
    bare = client.write("bare.jsonl", {"prompt": "What?", "split": "train"})
    tasks = client.json("prompts", "upload", bare, "--name", service.name("bare"))["id"]
    body = client.write("body.json", {"name": "none", "prompt_set": tasks, "judge": _judge(service)})
    client("trajectories", "evaluate", body, status=Exit.REFUSED)
    assert "add `candidates`" in client.errors.replace("\n", " ")


def _judge(service: Service) -> str:
    spec = {"kind": "checks", "family": "program", "criteria": [BOOKED]}
    return str(service.post("/v1/judges", {"name": service.name("booked"), "spec": spec})["id"])
