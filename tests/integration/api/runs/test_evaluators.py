"""Evaluators and capability tasks over HTTP: what is listed, what a run is refused for, what an estimate counts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.runs.service import Client
from tests.integration.api.runs.test_estimates import PRICED, REMOTE
from tests.integration.api.test_tasks import CONFIG, DOCUMENT

WORDS: dict[str, Any] = {
    "name": "no insult",
    "description": "Calls nobody names.",
    "check": {"kind": "words", "none_of": ["fool"]},
}


@pytest.fixture
def classifier(client: Client) -> str:
    judge = {"name": "words", "spec": {"kind": "checks", "family": "words", "criteria": [WORDS]}}
    found: str = client.post("/v1/judges", judge)["id"]
    return found


def asking(client: Client, **evaluate: Any) -> dict[str, Any]:
    return client.request(recipe={"evaluate": evaluate})


class TestList:
    def test_each_with_its_rubric_and_version(self, client: Client) -> None:
        page = client.get("/v1/evaluators")
        names = [each["name"] for each in page["data"]]
        assert names == ["content_safety", "groundedness", "task_completion", "toxicity"]
        assert (page["has_more"], page["after"]) == (False, None)
        for each in page["data"]:
            assert each["version"] == 1
            assert each["scale"] == [1, 10]
        assert [each["needs"] for each in page["data"]] == [None, "context", None, None]

    def test_one_can_be_replaced_by_itself(self, client: Client, classifier: str) -> None:
        """Its rubric posted as it is has the same hash: what replaces it is content, not a name."""
        first = client.get("/v1/evaluators")["data"][0]
        rubric = client.post("/v1/rubrics", {"name": "mine", **first["rubric"]})
        assert rubric["revision"]["content_hash"] == first["content_hash"]
        own = {"name": "mine", "rubric": rubric["revision"]["id"], "judge": classifier}
        assert client.post("/v1/runs", asking(client, evaluators=[own]))["status"] == "queued"


class TestRules:
    @pytest.mark.parametrize(
        ("evaluator", "field", "said"),
        [
            ({"name": "kindness"}, "name", "use one of content_safety, groundedness"),
            ({"name": "mine", "rubric": "revision_x"}, "rubric", "GET /v1/rubrics"),
            ({"name": "toxicity", "judge": "judge_x"}, "judge", "GET /v1/judges"),
            ({"name": "toxicity"}, "judge", "goes by what it has of its own"),
        ],
    )
    def test_an_evaluator_that_cannot_rate_is_named(
        self, client: Client, evaluator: dict[str, Any], field: str, said: str
    ) -> None:
        problem = client.post("/v1/runs", asking(client, evaluators=[evaluator]), expect=422)
        assert problem["code"] == "evaluator_refused"
        assert problem["field"] == f"recipe.evaluate.evaluators[0].{field}"
        assert said in problem["detail"]

    def test_a_program_without_checks_rates_nothing(self, client: Client) -> None:
        plain = client.post("/v1/judges", {"name": "plain", "spec": {"kind": "checks", "family": "x"}})["id"]
        body = asking(client, evaluators=[{"name": "toxicity", "judge": plain}])
        problem = client.post("/v1/runs", body, expect=422)
        assert "name a judge that reads" in problem["detail"]

    @pytest.mark.parametrize(
        ("evaluate", "said"),
        [
            ({"gates": {"maximum_task_regression": {"facts": 0.1}}}, "name it in evaluate.tasks too"),
            ({"gates": {"maximum_evaluator_regression": {"toxicity": 0.1}}}, "name it in evaluate.evaluators too"),
            ({"tasks": ["a", "a"]}, "named twice: a"),
            ({"evaluators": [{"name": "toxicity"}, {"name": "toxicity"}]}, "named twice: toxicity"),
        ],
    )
    def test_a_gate_reads_what_is_measured_once(self, client: Client, evaluate: dict[str, Any], said: str) -> None:
        problem = client.post("/v1/runs", asking(client, **evaluate), expect=422)
        assert said in str(problem)

    def test_a_task_that_there_is_not_is_named(self, client: Client) -> None:
        problem = client.post("/v1/runs", asking(client, tasks=["weather"]), expect=422)
        assert (problem["code"], problem["field"]) == ("task_missing", "recipe.evaluate.tasks[0]")
        task = client.post("/v1/tasks", {"config": CONFIG, "documents": [DOCUMENT]})
        assert client.post("/v1/runs", asking(client, tasks=["weather"]))["status"] == "queued"
        assert client.post("/v1/runs", asking(client, tasks=[task["id"]]))["status"] == "queued"
        twice = client.post("/v1/runs", asking(client, tasks=["weather", task["id"]]), expect=422)
        assert (twice["code"], twice["field"]) == ("task_repeated", "recipe.evaluate.tasks[1]")

    def test_another_projects_task_is_none(self, client: Client) -> None:
        other = client.service.client()
        task = other.post("/v1/tasks", {"config": CONFIG, "documents": [DOCUMENT]})
        client.post("/v1/runs", asking(client, tasks=[task["id"]]), expect=422)

    def test_a_limit_needs_the_price_of_who_rates(self, client: Client) -> None:
        remote = client.post("/v1/judges", REMOTE)["id"]
        recipe = {"evaluate": {"evaluators": [{"name": "toxicity", "judge": remote}]}, "budget": {"judge_usd": 1.0}}
        problem = client.post("/v1/runs", client.request(recipe=recipe), expect=422)
        assert problem["field"] == "recipe.evaluate.evaluators[0].judge"


class TestEstimate:
    def test_counts_what_evaluators_ask(self, client: Client) -> None:
        """Two held-out prompts, a policy and a base answer each, in both presentations."""
        remote = client.post("/v1/judges", PRICED)["id"]
        client.post("/v1/tasks", {"config": CONFIG, "documents": [DOCUMENT]})
        body = asking(client, evaluators=[{"name": "toxicity", "judge": remote}], tasks=["weather"])
        found = client.post("/v1/runs:estimate", body, expect=200)
        evaluate = next(stage for stage in found["stages"] if stage["stage"] == "evaluate")
        _, rating = evaluate["judges"]
        assert (rating["calls"], rating["answers"]) == (2 * 2 * 2, 2 * 2 * 2)
        assert rating["usd"]["expected"] > 0
        assert "evaluator 'toxicity'" in rating["notes"]
        assert "task 'weather': its time is not in the seconds" in evaluate["notes"]
