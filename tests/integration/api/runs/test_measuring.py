"""`POST /v1/evaluations`: what may be measured, by whom, and what is refused before anything is asked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.runs.service import Client, Service

REMOTE = {"kind": "openai", "family": "gpt", "base_url": "https://93.184.216.34/v1", "model": "gpt-5"}


@pytest.fixture
def parts(client: Client) -> dict[str, Any]:
    """Two that answer, a judge, a rubric and prompts: those of a run of the same project."""
    inputs = client.get(f"/v1/runs/{client.run()['id']}")["inputs"]
    endpoint = client.post("/v1/judges", {"name": "production", "spec": REMOTE})
    return {
        "measured": endpoint["id"],
        "baseline": inputs["base_model_id"],
        "prompt_set": inputs["prompt_set_id"],
        "rubric": inputs["rubric_revision_id"],
        "judge": inputs["evaluation_judge_id"],
    }


def create(client: Client, parts: dict[str, Any], expect: int = 201, **changes: Any) -> dict[str, Any]:
    body = {"name": "measured", "sample": {"max_new_tokens": 32}, **parts, **changes}
    return dict(client.post("/v1/evaluations", body, expect=expect))


class TestCreate:
    def test_is_a_run_of_its_own_kind_with_two_stages(self, client: Client, parts: dict[str, Any]) -> None:
        run = create(client, parts)
        assert run["kind"] == "evaluation"
        assert [stage["kind"] for stage in run["stages"]] == ["sample", "evaluate"]
        assert run["recipe"]["measure"] == {"measured": parts["measured"], "baseline": parts["baseline"]}
        assert client.get(f"/v1/runs/{run['id']}") == run

    def test_prompts_need_not_train_anything(self, client: Client, parts: dict[str, Any]) -> None:
        held_out = [{"messages": [{"role": "user", "content": "Hm?"}], "split": "held_out"}]
        made = client.post("/v1/prompt-sets", {"name": "only held out", "prompts": held_out})
        assert create(client, parts, prompt_set=made["id"])["kind"] == "evaluation"

    def test_a_replayed_key_is_the_same_run(self, client: Client, parts: dict[str, Any]) -> None:
        body = {"name": "once", "sample": {"max_new_tokens": 32}, **parts}
        answers = [client.http.post("/v1/evaluations", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)]
        assert answers[0].json()["id"] == answers[1].json()["id"]

    def test_two_endpoints_need_no_model(self, client: Client, parts: dict[str, Any]) -> None:
        other = client.post("/v1/judges", {"name": "candidate", "spec": {**REMOTE, "model": "gpt-6"}})
        run = create(client, parts, baseline=other["id"])
        assert run["inputs"]["base_model_id"] is None


class TestRefused:
    def test_a_run_is_not_told_what_to_measure(self, client: Client, service: Service, parts: dict[str, Any]) -> None:
        """Its ids are looked up by POST /v1/evaluations alone: as a recipe's they could be another project's."""
        theirs = service.client().post("/v1/judges", {"name": "theirs", "spec": REMOTE})["id"]
        recipe = {"measure": {"measured": theirs, "baseline": parts["baseline"]}}
        for route in ("/v1/runs", "/v1/runs:estimate"):
            problem = client.post(route, client.request(recipe=recipe), expect=422)
            assert problem["field"] == "recipe.measure"
            assert "/v1/evaluations" in problem["detail"]

    def test_a_judge_that_only_judges_answers_nothing(self, client: Client, parts: dict[str, Any]) -> None:
        problem = create(client, parts, 422, measured=parts["judge"])
        assert (problem["code"], problem["errors"][0]["field"]) == ("not_answering", "measured")

    def test_one_that_judges_its_own_answers(self, client: Client, parts: dict[str, Any]) -> None:
        problem = create(client, parts, 422, judge=parts["measured"])
        assert (problem["code"], problem["errors"][0]["field"]) == ("circular_evaluation", "judge")
        assert create(client, parts, judge=parts["measured"], allow_circular_evaluation=True)["kind"] == "evaluation"

    def test_prompts_with_tools_for_an_endpoint(self, client: Client, parts: dict[str, Any]) -> None:
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        prompt = {"messages": [{"role": "user", "content": "Hm?"}], "split": "held_out", "tools": [tool]}
        made = client.post("/v1/prompt-sets", {"name": "tools", "prompts": [prompt]})
        problem = create(client, parts, 422, prompt_set=made["id"])
        assert (problem["code"], problem["errors"][0]["field"]) == ("prompts_not_answerable", "prompt_set")

    def test_a_prompt_set_without_held_out_prompts(self, client: Client, parts: dict[str, Any]) -> None:
        prompt = {"messages": [{"role": "user", "content": "Hm?"}], "split": "train"}
        made = client.post("/v1/prompt-sets", {"name": "train", "prompts": [prompt]})
        problem = create(client, parts, 422, prompt_set=made["id"])
        assert problem["errors"][0]["field"] == "prompt_set"

    def test_a_limit_in_money_needs_the_endpoints_price(self, client: Client, parts: dict[str, Any]) -> None:
        unpriced = client.post("/v1/judges", {"name": "own", "spec": {**REMOTE, "model": "our-own"}})
        problem = create(client, parts, 422, measured=unpriced["id"], budget={"judge_usd": 1.0})
        assert problem["errors"][0]["field"] == "measured"

    @pytest.mark.parametrize("field", ["measured", "baseline", "prompt_set", "rubric", "judge"])
    def test_another_projects_part_does_not_exist(
        self, client: Client, parts: dict[str, Any], service: Service, field: str
    ) -> None:
        stranger = service.client()
        own = stranger.get(f"/v1/runs/{stranger.run()['id']}")["inputs"]
        mine = {
            "measured": own["base_model_id"],
            "baseline": own["base_model_id"],
            "prompt_set": own["prompt_set_id"],
            "rubric": own["rubric_revision_id"],
            "judge": own["evaluation_judge_id"],
        }
        problem = create(stranger, {**mine, field: parts[field]}, 404)
        assert problem["errors"][0]["field"] == field

    @pytest.mark.parametrize(
        "change",
        [
            {"sample": {"temperature": 0}},
            {"seed": -1},
            {"measured": ""},
            {"x": 1},
            {"evaluate": {"candidate": 3}},
            {"sample": {"max_new_tokens": 0}},
        ],
    )
    def test_bad_settings_name_their_field(self, client: Client, parts: dict[str, Any], change: dict[str, Any]) -> None:
        problem = create(client, parts, 422, **change)
        assert problem["errors"][0]["field"].startswith(next(iter(change)))
