"""Runs that begin in the middle: from another run's stage, or from preferences that the client brings."""

from __future__ import annotations

import json

from tests.process.service import Service

REUSED = ("sample", "judge", "prefer", "reward_model")


class TestFork:
    def test_reused_stages_are_not_repeated(self, service: Service, checked_run: str) -> None:
        recipe = {"stop_after": "policy", "policy": {"learning_rate": 3e-4, "epochs": 1}}
        run_id = service.fork(checked_run, "policy", recipe=recipe)
        run = service.finished(run_id)
        stages = {stage["kind"]: stage for stage in run["stages"]}
        assert {kind: stage["status"] for kind, stage in stages.items()} == {
            **dict.fromkeys(REUSED, "reused"),
            "policy": "succeeded",
        }
        assert {stages[kind]["source_run_id"] for kind in REUSED} == {checked_run}
        for table in ("completions", "comparisons", "verdicts", "preferences"):
            assert service.count(table, run_id) == 0, table
        own, source = service.policy(run_id), service.policy(checked_run)
        assert own["digest"] != source["digest"]
        assert own["lineage"]["preferences_digest"] == source["lineage"]["preferences_digest"]
        rows = service.pages(f"/v1/runs/{run_id}/preferences")
        assert rows == service.pages(f"/v1/runs/{checked_run}/preferences")
        assert service.get(f"/v1/runs/{run_id}/usage")["total"]["judge_calls"] == 0

    def test_stage_that_has_not_succeeded_is_refused(self, service: Service, checked_run: str) -> None:
        partial = service.fork(checked_run, "prefer", recipe={"stop_after": "prefer"})
        service.finished(partial)
        body = {"name": service.name("fork"), "fork": {"run": partial, "from_stage": "evaluate"}}
        answer = service.client.post("/v1/runs", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "stage_not_finished")


class TestImports:
    def test_preferences_of_a_client_train_a_policy(self, service: Service, checked_run: str) -> None:
        exported = service.client.get(f"/v1/runs/{checked_run}/preferences", params={"format": "trl"})
        rows = [json.loads(line) for line in exported.text.splitlines()]
        uploaded = service.client.post(
            "/v1/prompt-sets:upload",
            params={"name": service.name("trl"), "held_out": 0},
            headers={"Content-Type": "application/jsonl"},
            content=exported.content,
        )
        assert uploaded.status_code == 201, uploaded.text
        recipe = {
            "stop_after": "policy",
            "sample": {"source": "prompt_set"},
            "prefer": {"source": "prompt_set"},
            "reward_model": {"epochs": 1},
            "policy": {"epochs": 1},
        }
        run_id = service.submit(prompt_set=uploaded.json()["id"], recipe=recipe)
        run = service.finished(run_id)
        assert [stage["kind"] for stage in run["stages"]] == ["sample", "prefer", "reward_model", "policy"]
        assert service.policy(run_id)["lineage"]["preferences"] == len(rows)
        assert service.policy(run_id)["lineage"]["judges"] == []
        again = service.client.get(f"/v1/runs/{run_id}/preferences", params={"format": "trl"})
        assert [json.loads(line) for line in again.text.splitlines()] == rows
