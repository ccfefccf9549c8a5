"""Measuring a checkpoint again: one request, one run that evaluates alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.db.models import CheckpointKind
from tests.integration.api.runs.produced import FIGURES, publish
from tests.integration.api.runs.service import Client, Service

CRITERIA = [{"name": "brief", "description": "Few words.", "check": {"kind": "repetition"}}]
OTHER = {"name": "other", "spec": {"kind": "checks", "family": "third", "criteria": CRITERIA}}


@pytest.fixture
def source(client: Client) -> dict[str, Any]:
    """A run to its end."""
    run = client.run()
    client.drive(run["id"], metrics=FIGURES)
    return dict(client.get(f"/v1/runs/{run['id']}"))


@pytest.fixture
def policy(source: dict[str, Any], service: Service, tmp_path: Path) -> str:
    return published(source, service, tmp_path, CheckpointKind.POLICY)


@pytest.fixture
def other(client: Client) -> str:
    return str(client.post("/v1/judges", OTHER)["id"])


def published(run: dict[str, Any], service: Service, directory: Path, kind: CheckpointKind) -> str:
    (directory / "weights").write_bytes(b"w")
    with service.sessions.begin() as session:
        return publish(session, service.store, run["id"], directory, kind)


class TestEvaluateAgain:
    def test_is_a_run_that_evaluates_alone(
        self, client: Client, source: dict[str, Any], policy: str, other: str
    ) -> None:
        gates = {"minimum_win_rate": 0.6}
        body = {"name": "again", "judge": other, "evaluate": {"gates": gates}, "budget": {"judge_usd": 2.0}}
        made = client.post(f"/v1/checkpoints/{policy}/evaluations", body)
        assert {stage["kind"]: stage["status"] for stage in made["stages"]} == {
            **dict.fromkeys(("sample", "judge", "prefer", "reward_model", "policy"), "reused"),
            "evaluate": "running",
        }
        assert made["inputs"] == {
            **source["inputs"],
            "evaluation_judge_id": other,
            "forked_from_id": source["id"],
        }
        assert made["recipe"]["evaluate"]["gates"]["minimum_win_rate"] == 0.6
        assert made["recipe"]["budget"]["judge_usd"] == 2.0
        assert made["recipe"]["evaluate"]["completions"] == source["recipe"]["evaluate"]["completions"]
        client.drive(made["id"])
        assert client.get(f"/v1/runs/{made['id']}")["status"] == "succeeded"

    def test_a_repeated_key_makes_one_run(self, client: Client, policy: str, other: str) -> None:
        body, key = {"name": "again", "judge": other}, {"Idempotency-Key": "k"}
        first, second = (client.post(f"/v1/checkpoints/{policy}/evaluations", body, headers=key) for _ in range(2))
        assert first["id"] == second["id"]

    def test_a_policy_of_a_run_that_stopped_before_can_be_evaluated(
        self, client: Client, service: Service, tmp_path: Path, other: str
    ) -> None:
        run = client.run(evaluation_judge=None, recipe={"stop_after": "policy"})
        client.drive(run["id"])
        checkpoint = published(run, service, tmp_path, CheckpointKind.POLICY)
        made = client.post(f"/v1/checkpoints/{checkpoint}/evaluations", {"name": "late", "judge": other})
        assert made["stages"][-1]["kind"] == "evaluate"


class TestRefusals:
    def test_a_reward_model_answers_no_prompt(
        self, client: Client, source: dict[str, Any], service: Service, tmp_path: Path, other: str
    ) -> None:
        checkpoint = published(source, service, tmp_path, CheckpointKind.REWARD_MODEL)
        body = {"name": "again", "judge": other}
        problem = client.post(f"/v1/checkpoints/{checkpoint}/evaluations", body, expect=409)
        assert problem["code"] == "not_evaluable"

    def test_a_warm_start_is_measured_elsewhere(
        self, client: Client, source: dict[str, Any], service: Service, tmp_path: Path, other: str
    ) -> None:
        checkpoint = published(source, service, tmp_path, CheckpointKind.WARM_START)
        body = {"name": "again", "judge": other}
        problem = client.post(f"/v1/checkpoints/{checkpoint}/evaluations", body, expect=409)
        assert (problem["code"], "POST /v1/evaluations" in problem["detail"]) == ("not_evaluable", True)

    def test_the_training_judge_is_refused_until_it_is_allowed(
        self, client: Client, source: dict[str, Any], policy: str
    ) -> None:
        body = {"name": "again", "judge": source["inputs"]["judge_id"]}
        problem = client.post(f"/v1/checkpoints/{policy}/evaluations", body, expect=422)
        assert (problem["code"], problem["field"]) == ("circular_evaluation", "judge")
        client.post(f"/v1/checkpoints/{policy}/evaluations", body | {"allow_circular_evaluation": True})

    def test_fields_are_named_as_they_were_sent(self, client: Client, policy: str, other: str) -> None:
        gates = {"maximum_cohort_regression": {"capabilty": 0.1}}
        body = {"name": "again", "judge": other, "evaluate": {"gates": gates}}
        problem = client.post(f"/v1/checkpoints/{policy}/evaluations", body, expect=422)
        assert problem["field"] == "evaluate.gates.maximum_cohort_regression"

    def test_an_unknown_judge_is_named(self, client: Client, policy: str) -> None:
        problem = client.post(f"/v1/checkpoints/{policy}/evaluations", {"name": "x", "judge": "judge_x"}, expect=404)
        assert "judge_x" in problem["detail"]
