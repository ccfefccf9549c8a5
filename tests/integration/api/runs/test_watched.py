"""What a run may be told about the watching of its trainings."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.runs.service import EVALUATION_JUDGE, JUDGE, Client

ONLINE: dict[str, Any] = {"method": "grpo", "max_new_tokens": 16, "max_length": 64}


def recipe(**health: Any) -> dict[str, Any]:
    return {"sample": {"max_new_tokens": 16}, "stop_after": "policy", "policy": ONLINE | {"health": health}}


class TestHealth:
    def test_looks_need_somebody_who_looks(self, client: Client) -> None:
        request = client.request(recipe=recipe(judge_every=5)) | {"evaluation_judge": None}
        problem = client.post("/v1/runs", request, expect=422)
        assert problem["field"] == "recipe.policy.health.judge_every"
        assert "name an evaluation_judge" in problem["detail"]

    def test_who_looks_must_rate_one_answer_by_itself(self, client: Client) -> None:
        members = [client.post("/v1/judges", judge)["id"] for judge in (JUDGE, EVALUATION_JUDGE)]
        judge = {"name": "panel", "spec": {"kind": "panel", "members": members}}
        request = client.request(recipe=recipe(judge_every=5), evaluation_judge=judge, allow_circular_evaluation=True)
        problem = client.post("/v1/runs", request, expect=422)
        assert problem["field"] == "recipe.policy.health.judge_every"
        assert "rates no single answer" in problem["detail"]

    def test_without_looks_nobody_is_needed(self, client: Client) -> None:
        assert client.run(recipe=recipe(judge_every=0), evaluation_judge=None)["status"] == "queued"

    @pytest.mark.parametrize(
        ("health", "said"),
        [
            ({"on": {"margin": "stop"}}, "margin"),
            ({"on": {"chosen_logprob_falling": "stop"}}, "no chosen_logprob_falling"),
            ({"on_alarm": "panic"}, "on_alarm"),
            ({"kl_per_token": -1.0}, "kl_per_token"),
            ({"chosen_logprob_fall": 0.1}, "chosen_logprob_fall"),
        ],
    )
    def test_what_no_rule_reads_is_refused(self, client: Client, health: dict[str, Any], said: str) -> None:
        problem = client.post("/v1/runs", client.request(recipe=recipe(**health)), expect=422)
        assert said in str(problem)
