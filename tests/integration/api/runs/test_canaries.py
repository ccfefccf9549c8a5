"""Canaries over the API: of a measured baseline, listed, looked at and stopped."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from app.services import canaries
from tests.integration.api.runs.calibrated import checks_judge, measured, request
from tests.integration.api.runs.service import Client, Service

Json = dict[str, Any]


@pytest.fixture
def baseline(client: Client) -> Json:
    return measured(client, checks_judge(client, "trainer"))


def canary(client: Client, baseline: Json, *, expect: int = 201) -> Json:
    body = {"name": "daily", "baseline": baseline["id"], "every_hours": 24}
    made: Json = client.post("/v1/canaries", body, expect=expect)
    return made


def open_due(client: Client, canary_id: str) -> None:
    """As if its time had come."""
    with client.service.sessions.begin() as session:
        session.execute(text("UPDATE canaries SET next_due_at = now() WHERE id = :id"), {"id": canary_id})
    with client.service.sessions.begin() as session:
        assert canaries.open_due(session, canary_id) is not None


def test_it_is_made_and_found(client: Client, baseline: Json) -> None:
    made = canary(client, baseline)
    assert (made["baseline_id"], made["drifted"], made["measurements"]) == (baseline["id"], None, [])
    assert client.get(f"/v1/canaries/{made['id']}") == made
    assert [row["id"] for row in client.rows("/v1/canaries")] == [made["id"]]


def test_a_baseline_that_is_not_measured_is_refused(client: Client) -> None:
    unmeasured = client.post("/v1/calibrations", request(client, checks_judge(client, "trainer")))
    problem = canary(client, unmeasured, expect=409)
    assert (problem["code"], problem["field"]) == ("not_measured", "baseline")


def test_a_measurement_is_a_calibration_of_its_own(client: Client, baseline: Json) -> None:
    made = canary(client, baseline)
    open_due(client, made["id"])
    (measurement,) = client.get(f"/v1/canaries/{made['id']}")["measurements"]
    assert (measurement["status"], measurement["drift"]) == ("queued", None)
    calibration = client.get(f"/v1/calibrations/{measurement['calibration_id']}")
    assert calibration["canary_id"] == made["id"]
    assert {name: calibration[name] for name in ("judge_id", "rubric_revision_id", "prompt_set_id")} == {
        name: baseline[name] for name in ("judge_id", "rubric_revision_id", "prompt_set_id")
    }


def test_stopping_ends_the_schedule_and_keeps_the_history(client: Client, baseline: Json) -> None:
    made = canary(client, baseline)
    open_due(client, made["id"])
    for _ in range(2):
        stopped = client.post(f"/v1/canaries/{made['id']}:stop", expect=200)
    assert stopped["next_due_at"] is None
    assert stopped["stopped_at"] is not None
    assert len(stopped["measurements"]) == 1


def test_a_drifted_canary_closes_the_gate(client: Client, baseline: Json) -> None:
    made = canary(client, baseline)
    open_due(client, made["id"])
    measurement = client.get(f"/v1/canaries/{made['id']}")["measurements"][0]
    client.drive(measurement["run_id"])
    drift = {
        **dict.fromkeys(("flipped", "accuracy", "probability_moved", "towards_people")),
        "compared": 60,
        "became_right": 0,
        "became_wrong": 20,
        "mcnemar_p": 1e-6,
        "coverage": 0.0,
        "reasons": ["20 answers became wrong"],
        "drifted": True,
    }
    with client.service.sessions.begin() as session:
        session.execute(
            text(
                "UPDATE calibrations SET report = base.report, drift = cast(:drift AS jsonb) FROM calibrations AS base "
                "WHERE calibrations.id = :id AND base.id = :baseline"
            ),
            {"drift": json.dumps(drift), "id": measurement["calibration_id"], "baseline": baseline["id"]},
        )
    assert client.get(f"/v1/canaries/{made['id']}")["drifted"] is True
    recipe = {"stop_after": "prefer", "judge": {"calibration": baseline["id"]}, "gates": {"refuse_on_drift": True}}
    body = client.request(
        rubric=baseline["rubric_revision_id"], judge=baseline["judge_id"], evaluation_judge=None, recipe=recipe
    )
    problem = client.post("/v1/runs", body, expect=409)
    assert (problem["code"], problem["field"]) == ("gate_failed", "recipe.gates.refuse_on_drift")
    assert "20 answers became wrong" in problem["detail"]
    recipe["gates"] = {}
    assert client.post("/v1/runs", body)["status"] == "queued"


def test_another_project_does_not_see_it(client: Client, service: Service, baseline: Json) -> None:
    made = canary(client, baseline)
    stranger = service.client()
    stranger.get(f"/v1/canaries/{made['id']}", expect=404)
    stranger.post(f"/v1/canaries/{made['id']}:stop", expect=404)
    assert canary(stranger, baseline, expect=404)["field"] == "baseline"
