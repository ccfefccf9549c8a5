"""Rubrics as their author works on them, with the command, real workers and a judge's endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.exits import Exit
from tests.process.client import Client
from tests.process.service import CANARY, EXAMPLES, Service
from tests.stack import wait_for

POLITE, RUDE = "Thank you for asking, salt is a mineral.", "Salt is a mineral, as I said, and so on."
PAIR: dict[str, Any] = {"prompt": "What is salt?", "first": POLITE, "second": RUDE}


@pytest.fixture
def client(service: Service, tmp_path: Path) -> Client:
    return Client(service, tmp_path)


class TestRubricsWorkflow:
    def test_lint_revise_and_compare(self, client: Client, service: Service) -> None:
        rubric = json.loads((EXAMPLES / "rubric.json").read_text()) | {"name": service.name("linted")}
        assert "0 found" in client("rubrics", "lint", str(EXAMPLES / "rubric.json"))
        made = client.json("rubrics", "create", client.write("rubric.json", rubric))
        rubric["criteria"].append({"name": "tone", "description": "Uses an appropriate tone."})
        found = client("rubrics", "lint", client.write("rubric.json", rubric), status=Exit.FAILURE)
        assert "tone: vague" in found
        assert "appropriate" in found
        assert client.json("rubrics", "revise", made["id"], "rubric.json")["number"] == 2
        assert "added criterion tone" in client("rubrics", "diff", made["id"], "--revision", "2")


class TestTrial:
    def test_a_pair_through_a_worker_and_an_endpoint(self, client: Client, service: Service) -> None:
        judge = service.endpoint_judge()
        pair = client.write("pair.json", PAIR)
        trial = client.json("rubrics", "try", service.parts_of_runs.rubric, pair, "--judge", judge)
        asked = {call.question for call in service.judge.calls()}
        answers = trial["pairs"][0]["answers"]
        assert [(answer["order"], answer["answer"]) for answer in answers] == [("AB", "A"), ("BA", "A")]
        for answer in answers:
            assert answer["asked"]["prompt_hash"] in asked
            assert POLITE in answer["asked"]["messages"][1]["content"]
            assert answer["asked"]["attempts"] == 1
        assert trial["cost_usd"] == pytest.approx(sum(answer["asked"]["cost_usd"] for answer in answers))
        assert CANARY not in json.dumps(trial)
        shown = client("rubrics", "try", service.parts_of_runs.rubric, pair, "--judge", judge)
        assert "order AB: A" in shown
        assert "--- reply" in shown

    def test_golden_examples_are_the_rubrics_unit_tests(self, client: Client, service: Service) -> None:
        rubric = json.loads((EXAMPLES / "rubric.json").read_text()) | {"name": service.name("golden")}
        rubric["golden_examples"] = [PAIR | {"name": "polite", "expected": "A"}]
        made = client.json("rubrics", "create", client.write("rubric.json", rubric))
        judge = service.endpoint_judge()
        assert "1 of 1 passed" in client("rubrics", "test", made["id"], "--judge", judge)
        rubric["golden_examples"] += [PAIR | {"name": "upside down", "expected": "B"}]
        client("rubrics", "revise", made["id"], client.write("rubric.json", rubric))
        shown = client("rubrics", "test", made["id"], "--judge", judge, status=Exit.FAILURE)
        assert "wrong  upside down: A in both orders, expected B" in shown
        assert "1 of 2 passed" in shown
        assert "1 of 1 passed" in client("rubrics", "test", made["id"], "--judge", judge, "--revision", "1")

    def test_killed_in_the_middle_it_asks_again_only_what_was_not_stored(self, service: Service) -> None:
        rubric = json.loads((EXAMPLES / "rubric.json").read_text()) | {"name": service.name("killed")}
        rubric["golden_examples"] = [
            PAIR | {"name": f"g{number}", "prompt": f"What is salt, {number}?", "expected": "A"} for number in range(6)
        ]
        made = service.post("/v1/rubrics", rubric)
        judge = service.endpoint_judge(max_concurrency=1)
        service.judge.script(latency_s=0.3)
        before = len(service.judge.calls())
        trial = service.post(f"/v1/rubrics/{made['id']}/revisions/1:test", {"judge": judge})
        wait_for(lambda: service.count("verdicts", trial["id"]) >= 3, what="three verdicts")
        service.kill("worker-io")
        lost = len(service.judge.calls()) - before - service.count("verdicts", trial["id"])
        service.start("worker-io")
        ended = service.finished(trial["id"])
        golden = service.get(f"/v1/trials/{trial['id']}")["golden"]
        assert (ended["status"], golden["passed"], golden["total"]) == ("succeeded", 6, 6)
        assert service.count("verdicts", trial["id"]) == 12
        assert len(service.judge.calls()) - before == 12 + lost, "only what was not stored is asked again"
