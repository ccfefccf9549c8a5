"""Trials over HTTP: made, read, and refused. What a judge answers to them is in tests/integration/stages."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

CHECK = {"kind": "words", "any_of": ["thanks"]}
CONTENT: dict[str, Any] = {
    "criteria": [{"name": "polite", "description": "Thanks.", "check": CHECK}],
    "principles": ["Do no harm."],
}
PAIR: dict[str, Any] = {"prompt": "Why?", "first": "So, thanks.", "second": "No."}
GOLDEN: dict[str, Any] = PAIR | {"name": "thanks", "expected": "A"}


@pytest.fixture
def judge(client: httpx.Client) -> str:
    made = client.post("/v1/judges", json={"name": "checks", "spec": {"kind": "checks"}})
    return str(made.json()["id"])


def revisions(client: httpx.Client, **content: Any) -> str:
    answer = client.post("/v1/rubrics", json={"name": "r", **CONTENT, **content})
    assert answer.status_code == 201, answer.text
    return f"/v1/rubrics/{answer.json()['id']}/revisions/1"


class TestCreateTrial:
    def test_answers_the_trial_which_is_a_run(self, client: httpx.Client, judge: str) -> None:
        answer = client.post(f"{revisions(client)}/trials", json=PAIR | {"judge": judge})
        assert answer.status_code == 201, answer.text
        trial = answer.json()
        assert answer.headers["Location"] == f"/v1/trials/{trial['id']}"
        assert (trial["status"], trial["judge_id"], trial["revision"]["number"]) == ("queued", judge, 1)
        assert trial["pairs"] == [
            {"golden": None, "principle": None, "probability": None, "answers": [], "ratings": []}
        ]
        assert client.get(f"/v1/trials/{trial['id']}").json() == trial
        run = client.get(f"/v1/runs/{trial['id']}").json()
        assert (run["kind"], run["inputs"]["base_model_id"]) == ("trial", None)
        assert [stage["kind"] for stage in run["stages"]] == ["sample", "judge"]

    def test_stands_in_no_list_of_pipelines_or_prompt_sets(self, client: httpx.Client, judge: str) -> None:
        trial = client.post(f"{revisions(client)}/trials", json=PAIR | {"judge": judge}).json()
        assert client.get("/v1/runs").json()["data"] == []
        assert client.get("/v1/prompt-sets").json()["data"] == []
        assert [run["id"] for run in client.get("/v1/runs", params={"kind": "trial"}).json()["data"]] == [trial["id"]]

    def test_is_made_once_for_a_key(self, client: httpx.Client, judge: str) -> None:
        path, key = f"{revisions(client)}/trials", {"Idempotency-Key": "once"}
        first = client.post(path, json=PAIR | {"judge": judge}, headers=key)
        again = client.post(path, json=PAIR | {"judge": judge}, headers=key)
        assert (again.json(), again.headers["Idempotent-Replayed"]) == (first.json(), "true")

    @pytest.mark.parametrize(
        ("changes", "status", "field"),
        [
            ({"judge": "judge_01m7xk5mgzeyva4mageqj2tqtk"}, 404, "judge"),
            ({"principle": 2}, 422, "principle"),
            ({"second": "So, thanks."}, 422, "body"),
            ({"prompt": ""}, 422, "prompt"),
            ({"budget": {"judge_usd": 0}}, 422, "budget.judge_usd"),
            ({"expected": "A"}, 422, "expected"),
            ({"mode": "listwise"}, 422, "mode"),
            ({"mode": "per_criterion"}, 422, "mode"),
        ],
    )
    def test_is_refused_with_the_field(
        self, client: httpx.Client, judge: str, changes: dict[str, Any], status: int, field: str
    ) -> None:
        answer = client.post(f"{revisions(client)}/trials", json=PAIR | {"judge": judge} | changes)
        problem = answer.json()
        named = problem.get("field") or problem["errors"][0]["field"]
        assert (answer.status_code, named) == (status, field), problem
        assert client.get("/v1/runs", params={"kind": "trial"}).json()["data"] == []

    def test_a_program_needs_something_to_check(self, client: httpx.Client, judge: str) -> None:
        path = revisions(client, criteria=[{"name": "c", "description": "Is true."}])
        answer = client.post(f"{path}/trials", json=PAIR | {"judge": judge})
        assert (answer.status_code, answer.json()["field"]) == (422, "judge")

    def test_a_revision_that_is_not_there(self, client: httpx.Client, judge: str) -> None:
        path = revisions(client).removesuffix("1") + "2"
        assert client.post(f"{path}/trials", json=PAIR | {"judge": judge}).status_code == 404


class TestGoldenTest:
    def test_holds_every_example(self, client: httpx.Client, judge: str) -> None:
        path = revisions(client, golden_examples=[GOLDEN, GOLDEN | {"name": "other", "prompt": "Else?"}])
        answer = client.post(f"{path}:test", json={"judge": judge})
        assert answer.status_code == 201, answer.text
        assert answer.json()["golden"] == {
            "total": 2,
            "passed": 0,
            "wrong": 0,
            "inconsistent": 0,
            "missing": 0,
            "waiting": 2,
        }
        assert [pair["golden"]["name"] for pair in answer.json()["pairs"]] == ["thanks", "other"]

    def test_without_examples_there_is_nothing_to_test(self, client: httpx.Client, judge: str) -> None:
        answer = client.post(f"{revisions(client)}:test", json={"judge": judge})
        assert (answer.status_code, answer.json()["code"]) == (409, "no_golden_examples")


class TestGetTrial:
    def test_another_run_is_no_trial(self, client: httpx.Client) -> None:
        answer = client.get("/v1/trials/run_01m7xk5mgzeyva4mageqj2tqtk")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    def test_is_polled_like_a_run_and_waited_for_to_its_end(self, client: httpx.Client, judge: str) -> None:
        trial = client.post(f"{revisions(client)}/trials", json=PAIR | {"judge": judge}).json()
        path = f"/v1/trials/{trial['id']}"
        tag = {"If-None-Match": client.get(path).headers["ETag"]}
        assert client.get(path, headers=tag).status_code == 304
        assert client.get(path, headers=tag, params={"wait": 1}).status_code == 304
        client.post(f"/v1/runs/{trial['id']}:cancel")
        answer = client.get(path, headers=tag, params={"wait": 30})
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
