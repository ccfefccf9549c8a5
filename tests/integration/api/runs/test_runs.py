"""Runs over HTTP: created whole or not at all, and steered with clear refusals."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.db.models import Scope
from tests.integration.api.runs import produced
from tests.integration.api.runs.service import EVALUATION_JUDGE, JUDGE, PROMPTS, RUBRIC, Client, Service
from tests.stack import wait_for

UNHEARD = text(
    "UPDATE verdicts SET answer = 'INVALID', probability = NULL, invalid_reason = 'server' WHERE run_id = :run"
)
STAGES = ["sample", "judge", "prefer", "reward_model", "policy", "evaluate"]


class TestCreateRun:
    def test_everything_inline_makes_the_parts_and_queues_the_run(self, client: Client) -> None:
        run = client.run()
        assert run["status"] == "queued"
        assert [stage["kind"] for stage in run["stages"]] == STAGES
        assert run["stages"][0] | {"id": ""} == run["stages"][0] | {
            "id": "",
            "status": "running",
            "phase": "sample",
            "total_shards": 3,
            "total_units": 6,
            "done_units": 0,
            "eta_seconds": None,
        }
        assert client.get(f"/v1/rubrics/{client.get('/v1/rubrics')['data'][0]['id']}")["name"] == "brief"
        assert client.get(f"/v1/judges/{run['inputs']['judge_id']}")["name"] == "trainer"
        assert client.get(f"/v1/prompt-sets/{run['inputs']['prompt_set_id']}")["train_count"] == 4
        assert client.get(f"/v1/models/{run['inputs']['base_model_id']}")["name"] == "base"

    def test_location_names_the_run(self, client: Client) -> None:
        answer = client.http.post("/v1/runs", json=client.request())
        assert answer.headers["Location"] == f"/v1/runs/{answer.json()['id']}"
        assert client.get(answer.headers["Location"])["id"] == answer.json()["id"]

    def test_equal_inline_parts_are_the_existing_ones(self, client: Client) -> None:
        first, second = client.run(), client.run()
        assert first["id"] != second["id"]
        assert first["inputs"] == second["inputs"]

    def test_parts_by_id_are_used(self, client: Client) -> None:
        first = client.run()
        rubric = client.get("/v1/rubrics")["data"][0]
        inputs = first["inputs"]
        by_id = client.run(
            rubric=rubric["id"],
            prompt_set=inputs["prompt_set_id"],
            base_model=inputs["base_model_id"],
            judge=inputs["judge_id"],
            evaluation_judge=inputs["evaluation_judge_id"],
        )
        assert by_id["inputs"] == inputs
        by_revision = client.run(rubric=inputs["rubric_revision_id"])
        assert by_revision["inputs"] == inputs

    @pytest.mark.parametrize(
        ("field", "changed"),
        [
            ("rubric", {**RUBRIC, "description": "Another wish."}),
            ("prompt_set", {**PROMPTS, "prompts": list(PROMPTS["prompts"])[:-1]}),
            ("judge", {**JUDGE, "spec": {"kind": "checks", "sharpness": 2.0}}),
        ],
    )
    def test_taken_name_with_other_content_is_refused(self, client: Client, field: str, changed: Any) -> None:
        client.run()
        problem = client.post("/v1/runs", client.request(**{field: changed}), expect=409)
        assert problem["code"] == "content_differs"
        assert problem["field"] == f"{field}.name"
        assert "exists" in problem["detail"]

    def test_a_refused_run_leaves_no_part_behind(self, client: Client) -> None:
        client.post("/v1/runs", client.request(evaluation_judge=None), expect=422)
        for listing in ("rubrics", "prompt-sets", "models", "judges", "runs"):
            assert client.get(f"/v1/{listing}")["data"] == []

    def test_missing_part_names_what_is_missing(self, client: Client) -> None:
        for field in ("prompt_set", "base_model"):
            problem = client.post("/v1/runs", client.request(**{field: None}), expect=422)
            assert problem["field"] == field

    def test_unknown_field_is_refused(self, client: Client) -> None:
        problem = client.post("/v1/runs", client.request(recipe={"policy": {"betta": 0.2}}), expect=422)
        assert problem["field"] == "recipe.policy.betta"

    def test_error_in_an_inline_part_is_named_from_the_top(self, client: Client) -> None:
        bad = {
            "name": "x",
            "criteria": [{"name": "a", "description": "b", "check": {"kind": "pattern", "pattern": "("}}],
        }
        problem = client.post("/v1/runs", client.request(rubric=bad), expect=422)
        assert problem["field"] == "rubric.criteria[0].check.pattern"

    def test_read_scope_may_not_create(self, service: Service) -> None:
        reader = service.client(Scope.READ)
        assert reader.post("/v1/runs", reader.request(), expect=403)["code"] == "scope_missing"


TURNS = [
    {"role": "assistant", "tool_calls": [{"function": {"name": "book", "arguments": {"seat": 4}}}]},
    {"role": "tool", "content": "Booked."},
]
TRAJECTORIES = {
    "name": "seats",
    "prompts": [
        {"prompt": "A seat, please.", "split": "train", "candidates": [TURNS, "No."]},
        {"prompt": "Another one.", "split": "held_out", "candidates": [TURNS, "No."]},
    ],
}


class TestRules:
    """What does not fit together is refused before anything is spent, with the field and the remedy."""

    @pytest.mark.parametrize(
        ("field", "changes"),
        [
            ("judge", {"judge": None}),
            ("evaluation_judge", {"evaluation_judge": None}),
            ("rubric", {"rubric": None}),
            (
                "prompt_set",
                {
                    "prompt_set": {
                        "name": "q",
                        "prompts": [{"messages": [{"role": "user", "content": "a"}], "split": "held_out"}],
                    }
                },
            ),
            (
                "prompt_set",
                {
                    "prompt_set": {
                        "name": "q",
                        "prompts": [{"messages": [{"role": "user", "content": "a"}], "split": "train"}],
                    }
                },
            ),
            ("recipe.sample.source", {"recipe": {"sample": {"source": "prompt_set"}}}),
            ("recipe.policy.max_length", {"recipe": {"policy": {"max_length": 4096}}}),
            ("judge", {"rubric": {"name": "vague", "criteria": [{"name": "good", "description": "Good."}]}}),
            ("recipe.judge.mode", {"recipe": {"judge": {"mode": "pointwise"}}}),
            (
                "recipe.evaluate.gates.maximum_cohort_regression",
                {"recipe": {"evaluate": {"gates": {"maximum_cohort_regression": {"capabilty": 0.05}}}}},
            ),
            ("recipe.stop_after", {"recipe": {"sample": {"source": "prompt_set"}}, "prompt_set": TRAJECTORIES}),
        ],
    )
    def test_names_field(self, client: Client, field: str, changes: dict[str, Any]) -> None:
        problem = client.post("/v1/runs", client.request(**changes), expect=422)
        assert (problem["code"], problem["field"]) == ("run_refused", field)

    def test_stopping_early_needs_no_evaluation(self, client: Client) -> None:
        run = client.run(evaluation_judge=None, recipe={"stop_after": "policy"})
        assert [stage["kind"] for stage in run["stages"]] == STAGES[:-1]

    def test_trajectories_are_judged_where_nothing_is_trained(self, client: Client) -> None:
        recipe = {"sample": {"source": "prompt_set"}, "stop_after": "prefer"}
        run = client.run(prompt_set=TRAJECTORIES, recipe=recipe, evaluation_judge=None)
        assert [stage["kind"] for stage in run["stages"]] == ["sample", "judge", "prefer"]

    def test_imported_preferences_need_candidates_with_preferences(self, client: Client) -> None:
        prompts = [
            {"messages": [{"role": "user", "content": "a"}], "split": "train", "candidates": ["x", "y"]},
            {"messages": [{"role": "user", "content": "b"}], "split": "held_out"},
        ]
        imports = {"sample": {"source": "prompt_set"}, "prefer": {"source": "prompt_set"}}
        request = client.request(prompt_set={"name": "q", "prompts": prompts}, recipe=imports, judge=None)
        assert client.post("/v1/runs", request, expect=422)["field"] == "recipe.prefer.source"
        prompts[0]["preferences"] = [{"first": 0, "second": 1, "probability": 0.9}]
        run = client.post("/v1/runs", request)
        assert [stage["kind"] for stage in run["stages"]] == [kind for kind in STAGES if kind != "judge"]

    def test_a_sweep_that_selects_nothing_is_refused(self, client: Client) -> None:
        recipe = {"sweep": {"policy": {"beta": [0.1, 0.2]}}, "stop_after": "policy"}
        problem = client.post("/v1/runs", client.request(recipe=recipe), expect=422)
        assert (problem["code"], problem["field"]) == ("sweep_refused", "recipe.stop_after")

    def test_the_training_judge_may_not_evaluate(self, client: Client) -> None:
        same = {**JUDGE, "name": "same under another name"}
        problem = client.post("/v1/runs", client.request(evaluation_judge=same), expect=422)
        assert problem["code"] == "circular_evaluation"
        assert "allow_circular_evaluation" in problem["detail"]

    def test_a_judge_of_the_training_judges_family_measures_only_where_that_is_allowed(self, client: Client) -> None:
        criteria = [{"name": "clean", "description": "No insult.", "check": {"kind": "words", "none_of": ["duh"]}}]
        spec = {"kind": "checks", "family": "checks", "criteria": criteria}
        body = client.request(evaluation_judge={"name": "cousin", "spec": spec})
        problem = client.post("/v1/runs", body, expect=422)
        assert (problem["code"], problem["field"]) == ("same_family", "evaluation_judge")
        assert "allow_same_family" in problem["detail"]
        run = client.post("/v1/runs", body | {"allow_same_family": True})
        client.drive(run["id"])
        codes = [caveat["code"] for caveat in client.get(f"/v1/runs/{run['id']}/report")["caveats"]]
        assert "same_family" in codes

    def test_a_judge_with_the_rubrics_own_criteria_is_the_same_judge(self, client: Client) -> None:
        same = {"name": "copy", "spec": {"kind": "checks", "sharpness": 3.0, "criteria": RUBRIC["criteria"]}}
        problem = client.post("/v1/runs", client.request(evaluation_judge=same), expect=422)
        assert problem["code"] == "circular_evaluation"

    def test_the_same_weights_under_two_names_are_the_same_judge(self, client: Client) -> None:
        judges = []
        for name in ("one", "two"):
            model = client.post("/v1/models", {"name": name, "source": "local:base_model"})
            spec = {"kind": "local", "family": name, "model": model["id"]}
            judges.append({"name": name, "spec": spec})
        request = client.request(judge=judges[0], evaluation_judge=judges[1])
        assert client.post("/v1/runs", request, expect=422)["code"] == "circular_evaluation"

    def test_the_judge_that_rewards_the_policy_may_not_evaluate(self, client: Client) -> None:
        known = {"candidates": ["a", "b"], "preferences": [{"first": 0, "second": 1, "probability": 0.9}]}
        prompts = [known | {"prompt": f"Explain kites, {split}.", "split": split} for split in ("train", "held_out")]
        policy = {
            "method": "grpo",
            "max_new_tokens": 16,
            "max_length": 64,
            "reward": {"reward_model": 0.0, "judge": 1.0},
        }
        recipe = {"sample": {"source": "prompt_set", "max_new_tokens": 16}, "prefer": {"source": "prompt_set"}}
        request = client.request(
            prompt_set={"name": "q", "prompts": prompts}, evaluation_judge=JUDGE, recipe=recipe | {"policy": policy}
        )
        assert client.post("/v1/runs", request, expect=422)["code"] == "circular_evaluation"
        source = client.post("/v1/runs", request | {"allow_circular_evaluation": True})
        client.drive(source["id"])
        fork = {"name": "fork", "fork": {"run": source["id"], "from_stage": "evaluate"}}
        problem = client.post("/v1/runs", fork | {"judge": EVALUATION_JUDGE, "evaluation_judge": JUDGE}, expect=422)
        assert (problem["code"], problem["field"]) == ("fork_refused", "judge")
        assert client.post("/v1/runs", fork, expect=422)["code"] == "circular_evaluation"

    def test_circular_evaluation_can_be_allowed(self, client: Client) -> None:
        run = client.run(evaluation_judge=JUDGE, allow_circular_evaluation=True)
        assert run["inputs"]["judge_id"] == run["inputs"]["evaluation_judge_id"]

    def test_independent_judges_pass(self, client: Client) -> None:
        assert client.run(evaluation_judge=EVALUATION_JUDGE)["status"] == "queued"


class TestIdempotency:
    def test_replayed_key_returns_same_run(self, client: Client) -> None:
        """F12: the commit happened, the response was lost; the retry finds the run and makes no second one."""
        key = {"Idempotency-Key": "once"}
        first = client.http.post("/v1/runs", json=client.request(), headers=key)
        again = client.http.post("/v1/runs", json=client.request(), headers=key)
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.text == first.text
        assert again.headers["Idempotent-Replayed"] == "true"
        assert len(client.rows("/v1/runs")) == 1

    def test_a_lost_response_is_found_again(self, client: Client) -> None:
        """F12, to the letter: the run is committed, the client hangs up unread, and asks again."""
        url = httpx.URL(client.service.url)
        body = json.dumps(client.request()).encode()
        head = (
            f"POST /v1/runs HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {client.key}\r\n"
            f"Idempotency-Key: lost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection((url.host, url.port or 80)) as connection:
            connection.sendall(head.encode() + body)
            (made,) = wait_for(lambda: client.rows("/v1/runs"), what="the run")
        headers = {"Idempotency-Key": "lost", "Content-Type": "application/json"}
        again = client.http.post("/v1/runs", content=body, headers=headers)
        assert (again.status_code, again.json()["id"]) == (201, made["id"])
        assert [run["id"] for run in client.rows("/v1/runs")] == [made["id"]]

    def test_key_with_another_body_is_refused(self, client: Client) -> None:
        key = {"Idempotency-Key": "once"}
        client.post("/v1/runs", client.request(), headers=key)
        problem = client.post("/v1/runs", client.request(name="other"), headers=key, expect=422)
        assert problem["code"] == "idempotency_key_reused"

    def test_a_refused_request_does_not_use_up_its_key(self, client: Client) -> None:
        key = {"Idempotency-Key": "once"}
        client.post("/v1/runs", client.request(judge=None), headers=key, expect=422)
        client.post("/v1/runs", client.request(), headers=key)


class TestListRuns:
    def test_newest_first_and_by_status(self, client: Client) -> None:
        ids = [client.run()["id"] for _ in range(3)]
        client.post(f"/v1/runs/{ids[1]}:cancel", expect=200)
        assert [run["id"] for run in client.rows("/v1/runs", limit=2)] == ids[::-1]
        assert [run["id"] for run in client.rows("/v1/runs", status="cancelled")] == [ids[1]]
        both = client.rows("/v1/runs", status=["cancelled", "queued"], limit=1)
        assert [run["id"] for run in both] == ids[::-1]


class TestSteer:
    def test_cancel_ends_a_run_that_nobody_works_on(self, client: Client) -> None:
        run = client.run()
        cancelled = client.post(f"/v1/runs/{run['id']}:cancel", expect=200)
        assert cancelled["status"] == "cancelled"
        assert {stage["status"] for stage in cancelled["stages"]} == {"cancelled"}
        assert cancelled["version"] > run["version"]
        assert client.post(f"/v1/runs/{run['id']}:cancel", expect=200)["status"] == "cancelled"

    def test_pause_and_resume(self, client: Client) -> None:
        run = client.run()
        paused = client.post(f"/v1/runs/{run['id']}:pause", expect=200)
        assert (paused["status"], paused["pause_reason"]) == ("paused", "asked for by the client")
        resumed = client.post(f"/v1/runs/{run['id']}:resume", expect=200)
        assert (resumed["status"], resumed["pause_reason"]) == ("queued", None)

    def test_resume_raises_the_budget_that_paused_it(self, client: Client) -> None:
        run = client.run(recipe={"budget": {"judge_usd": 1.0, "compute_seconds": 50.0}})
        client.post(f"/v1/runs/{run['id']}:pause", expect=200)
        client.spend(run["id"], judge_usd=1.25)
        problem = client.post(f"/v1/runs/{run['id']}:resume", expect=409)
        assert (problem["code"], problem["field"]) == ("budget_spent", "budget.judge_usd")
        assert client.get(f"/v1/runs/{run['id']}")["status"] == "paused"
        raised = client.post(f"/v1/runs/{run['id']}:resume", {"budget": {"judge_usd": 2.0}}, expect=200)
        assert raised["recipe"]["budget"] == {"judge_usd": 2.0, "compute_seconds": 50.0}

    @pytest.mark.parametrize("verb", ["resume", "retry"])
    def test_wrong_state_is_a_conflict_that_says_so(self, client: Client, verb: str) -> None:
        run = client.run()
        problem = client.post(f"/v1/runs/{run['id']}:{verb}", expect=409)
        assert problem["code"] == "conflict"
        assert run["id"] in problem["detail"]
        assert "queued" in problem["detail"]

    @pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry"])
    def test_a_finished_run_is_left_alone(self, client: Client, verb: str) -> None:
        run = client.run(recipe={"stop_after": "sample"}, evaluation_judge=None)
        client.drive(run["id"])
        assert client.get(f"/v1/runs/{run['id']}")["status"] == "succeeded"
        assert "succeeded" in client.post(f"/v1/runs/{run['id']}:{verb}", expect=409)["detail"]

    def test_retry_asks_an_evaluation_s_unheard_questions_again(self, client: Client, service: Service) -> None:
        """Those of the evaluation alone: the stages before it have succeeded and stay as they are."""
        run = client.run()
        path = f"/v1/runs/{run['id']}"
        client.drive(run["id"], stop_before="evaluate")
        with service.sessions.begin() as session:
            produced.label(session, run["id"])
            produced.evaluate(session, run["id"])
            session.execute(UNHEARD, {"run": run["id"]})
        while client.get(path)["stages"][-1]["phase"] != "measure":
            client.work(run["id"], units=1)
        client.fail_next(run["id"])

        retried = client.post(f"{path}:retry", expect=200)["stages"][-1]

        assert (retried["phase"], retried["done_shards"], retried["done_units"]) == ("judge", 0, 0)
        assert client.rows(f"{path}/events")[-1]["data"] == {"asked_again": 2}
        left = client.rows(f"{path}/verdicts")
        assert {verdict["invalid_reason"] for verdict in left} == {"server"}
        assert {verdict["judge_id"] for verdict in left} == {run["inputs"]["judge_id"]}
        client.drive(run["id"])
        assert client.get(path)["status"] == "succeeded"

    def test_retry_goes_on_where_it_failed(self, client: Client) -> None:
        run = client.run()
        client.drive(run["id"], stop_before="judge")
        client.fail_next(run["id"])
        failed = client.get(f"/v1/runs/{run['id']}")
        assert (failed["status"], failed["error"]["code"]) == ("failed", "broken")
        retried = client.post(f"/v1/runs/{run['id']}:retry", expect=200)
        assert (retried["status"], retried["error"]) == ("running", None)
        assert retried["stages"][0]["status"] == "succeeded"
        client.drive(run["id"])
        assert client.get(f"/v1/runs/{run['id']}")["status"] == "succeeded"


class TestTenancy:
    def test_another_projects_run_does_not_exist(self, client: Client, service: Service) -> None:
        run, stranger = client.run(), service.client()
        for path in ("", "/events", "/metrics", "/completions", "/comparisons", "/verdicts", "/preferences"):
            assert stranger.get(f"/v1/runs/{run['id']}{path}", expect=404)["code"] == "not_found"
        for path in ("/evaluations", "/report", "/revisions", "/usage"):
            assert stranger.get(f"/v1/runs/{run['id']}{path}", expect=404)["code"] == "not_found"
        for verb in ("cancel", "pause", "resume", "retry"):
            assert stranger.post(f"/v1/runs/{run['id']}:{verb}", expect=404)["code"] == "not_found"
        assert stranger.get("/v1/checkpoints", expect=404, run=run["id"])["code"] == "not_found"
        assert client.get(f"/v1/runs/{run['id']}")["status"] == "queued"

    def test_another_projects_parts_do_not_exist(self, client: Client, service: Service) -> None:
        inputs, stranger = client.run()["inputs"], service.client()
        for field, id_ in (
            ("rubric", inputs["rubric_revision_id"]),
            ("prompt_set", inputs["prompt_set_id"]),
            ("base_model", inputs["base_model_id"]),
            ("judge", inputs["judge_id"]),
            ("evaluation_judge", inputs["evaluation_judge_id"]),
        ):
            problem = stranger.post("/v1/runs", stranger.request(**{field: id_}), expect=404)
            assert problem["field"] == field

    def test_another_projects_run_cannot_be_forked(self, client: Client, service: Service) -> None:
        run, stranger = client.run(), service.client()
        client.drive(run["id"])
        fork = stranger.request(fork={"run": run["id"], "from_stage": "policy"})
        assert stranger.post("/v1/runs", fork, expect=404)["code"] == "not_found"
