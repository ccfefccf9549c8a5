"""Estimates, prices, endpoints and stored replies over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from app.db.models import CachedReply, Judge, Model, PromptSet, Rubric, Run
from app.repositories import endpoints
from app.repositories.endpoints import Place, Report
from app.rlaif.limits import Ceiling, endpoint_key
from tests.integration.api.runs.service import Client

ADDRESS = "https://93.184.216.34/v1"
REMOTE: dict[str, Any] = {
    "name": "remote",
    "spec": {"kind": "openai", "family": "gpt", "base_url": ADDRESS, "model": "gpt-x", "requests_per_minute": 60.0},
}
PRICED = REMOTE | {"spec": REMOTE["spec"] | {"usd_per_million_input_tokens": 2.0, "usd_per_million_output_tokens": 8.0}}


class TestEstimate:
    def test_counts_stage_by_stage_and_stores_nothing(self, client: Client) -> None:
        found = client.post("/v1/runs:estimate", client.request(judge=PRICED), expect=200)
        stages = {stage["stage"]: stage for stage in found["stages"]}
        assert list(stages) == ["sample", "judge", "prefer", "reward_model", "policy", "evaluate"]
        assert stages["sample"]["units"] == 4 * 4 + 2 * 4
        (judging,) = stages["judge"]["judges"]
        assert (judging["name"], judging["calls"], judging["answers"]) == ("remote", 6 * 6 * 2, 6 * 6 * 2)
        assert 0 < judging["usd"]["low"] < judging["usd"]["expected"] < judging["usd"]["high"]
        assert judging["seconds"]["expected"] == pytest.approx(72.0)  # of which it allows one a second
        assert (found["seconds"], found["budget_reached"]) == (None, None)
        assert found["calls"] == 72 + 2 * 2 * 2
        with client.service.sessions() as session:
            for table in (Run, Judge, Model, PromptSet, Rubric):
                query = select(func.count()).select_from(table).where(table.project_id == client.project_id)
                assert session.scalar(query) == 0
        assert client.run(judge=PRICED)["status"] == "queued"

    def test_says_whether_the_budget_will_do(self, client: Client) -> None:
        for usd, reached in ((0.001, True), (100.0, False)):
            body = client.request(judge=PRICED, recipe={"budget": {"judge_usd": usd}})
            assert client.post("/v1/runs:estimate", body, expect=200)["budget_reached"] is reached

    def test_of_a_judge_without_a_price_has_no_money(self, client: Client) -> None:
        found = client.post("/v1/runs:estimate", client.request(judge=REMOTE), expect=200)
        assert found["usd"] is None
        assert "RLAIF_PRICES" in next(s for s in found["stages"] if s["stage"] == "judge")["judges"][0]["notes"][-1]

    def test_refuses_what_the_run_would_be_refused_for(self, client: Client) -> None:
        body = client.request(judge=None)
        refusals = [client.post(path, body, expect=422) for path in ("/v1/runs:estimate", "/v1/runs")]
        assert refusals[0]["detail"] == refusals[1]["detail"]
        assert refusals[0]["code"] == "run_refused"

    def test_of_a_fork_leaves_out_what_is_reused(self, client: Client) -> None:
        source = client.run()
        client.drive(source["id"])
        body = {"name": "fork", "fork": {"run": source["id"], "from_stage": "reward_model"}}
        found = client.post("/v1/runs:estimate", body, expect=200)
        assert [stage["stage"] for stage in found["stages"]] == ["reward_model", "policy", "evaluate"]


class TestPrice:
    def test_a_limit_in_usd_needs_one(self, client: Client) -> None:
        body = client.request(judge=REMOTE, recipe={"budget": {"judge_usd": 1.0}})
        refused = client.post("/v1/runs", body, expect=422)
        assert (refused["code"], refused["errors"][0]["field"]) == ("run_refused", "judge")
        assert "usd_per_million_input_tokens" in refused["detail"]
        client.post("/v1/runs", body | {"judge": PRICED})


class TestEndpoint:
    def test_shows_what_the_workers_share(self, client: Client) -> None:
        judge = client.post("/v1/judges", REMOTE)
        path = f"/v1/judges/{judge['id']}/endpoint"
        fresh = client.get(path)
        assert (fresh["workers"], fresh["circuit"], fresh["learned_requests_per_minute"]) == (0, "closed", None)
        place = Place(client.project_id, endpoint_key(ADDRESS, "gpt-x", None))
        with client.service.sessions.begin() as session:
            known = endpoints.join(session, place, "one").cuts
            endpoints.sync(session, place, "one", Report(7, 3.0, 40.0, 10.0))
            endpoints.cut_rate(session, place, Ceiling(10.0, 0.0, 2.0), known_cuts=known)
            endpoints.hold(session, place, 30.0)
            endpoints.open_circuit(session, place, "HTTP 503", at_least_s=0.0)
        found = client.get(path)
        assert (found["workers"], found["in_flight"], found["recent_error_rate"]) == (1, 7, 0.25)
        assert (found["circuit"], found["detail"], found["requests_per_minute"]) == ("open", "HTTP 503", 60.0)
        assert 500 < found["learned_requests_per_minute"] < 700
        assert None not in (found["held_until"], found["open_until"])

    def test_of_a_judge_that_calls_none_is_a_conflict(self, client: Client) -> None:
        judge = client.post("/v1/judges", {"name": "checks", "spec": {"kind": "checks"}})
        assert client.get(f"/v1/judges/{judge['id']}/endpoint", expect=409)["code"] == "no_endpoint"


class TestCache:
    def test_old_replies_go_first_and_other_projects_keep_theirs(self, client: Client) -> None:
        stranger = client.service.client()
        with client.service.sessions.begin() as session:
            for project, key, age in ((client, b"a", 0), (client, b"b", 40), (stranger, b"a", 40)):
                session.add(
                    CachedReply(
                        project_id=project.project_id,
                        key=key,
                        reply={},
                        prompt_tokens=1,
                        completion_tokens=1,
                        cost_usd=0,
                        created_at=func.now() - timedelta(days=age),
                    )
                )
        forget = client.http.delete
        assert forget("/v1/verdict-cache", params={"older_than_days": 30}).json() == {"deleted": 1}
        assert forget("/v1/verdict-cache").json() == {"deleted": 1}
        assert stranger.http.delete("/v1/verdict-cache").json() == {"deleted": 1}
        assert forget("/v1/verdict-cache", params={"older_than_days": 0}).status_code == 422
