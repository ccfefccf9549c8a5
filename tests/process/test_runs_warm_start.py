"""A constitutional warm start by the real processes: killed as it revises and as it trains, then DPO on it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.process.service import EXAMPLES, HELD_OUT, TRAIN, Service
from tests.stack import wait_for

WARM_START: dict[str, Any] = {
    "method": "constitutional",
    "revisions": 2,
    "learning_rate": 3e-4,
    "epochs": 4,
    "batch_size": 4,
    "max_length": 256,
    "save_steps": 3,
}


@pytest.fixture(scope="session")
def constitution(running_service: Service) -> str:
    """The id of the examples' constitution."""
    return str(running_service.post("/v1/rubrics", json.loads((EXAMPLES / "constitution.json").read_text()))["id"])


def test_a_killed_warm_start_ends_like_an_undisturbed_one_and_dpo_goes_on_from_it(
    service: Service, checked_run: str, constitution: str
) -> None:
    undisturbed = service.submit(rubric=constitution, recipe={"warm_start": WARM_START, "stop_after": "warm_start"})
    service.finished(undisturbed)
    run_id = service.submit(rubric=constitution, recipe={"warm_start": WARM_START})
    _kill_while_revising(service, run_id)
    _kill_while_training(service, run_id)
    run = service.finished(run_id)

    assert [stage["kind"] for stage in run["stages"]][:2] == ["warm_start", "sample"]
    failures = service.events(run_id, "shard.attempt_failed")
    assert {event["data"]["stage"] for event in failures} == {"warm_start"}
    assert _revisions(service, run_id) == _revisions(service, undisturbed)
    (taught,) = _checkpoints(service, run_id, "warm_start")
    assert taught["digest"] == _checkpoints(service, undisturbed, "warm_start")[0]["digest"]
    assert taught["metrics"]["resumed_from"] > 0

    models = {row["id"]: row for row in service.pages("/v1/models")}
    started = models[service.policy(run_id)["lineage"]["start_model"]]
    assert (started["name"], started["digest"]) == (f"{run_id}-warm-start", taught["digest"])
    assert _completions(service, run_id, "held_out") == _completions(service, checked_run, "held_out")
    assert _completions(service, run_id, "train") != _completions(service, checked_run, "train")
    report = service.get(f"/v1/runs/{run_id}/report")
    assert report["headline"]["win_rate"]["n_prompts"] == HELD_OUT
    assert sum(report["warm_start"]["outcomes"].values()) == TRAIN
    assert {"warm_start", "reward_model", "policy"} == {row["kind"] for row in report["lineage"]["checkpoints"]}
    assert "Warm start" in service.client.get(f"/v1/runs/{run_id}/report", params={"format": "markdown"}).text


def _kill_while_revising(service: Service, run_id: str) -> None:
    """After some answers are stored, when the next are about to be."""
    wait_for(lambda: service.count("revisions", run_id), what="the first answers", timeout_s=90)
    with service.held_up("revisions") as somebody_waits:
        wait_for(somebody_waits, what="somebody about to write revisions", timeout_s=90)
        service.kill("worker-gpu")
    service.start("worker-gpu")


def _kill_while_training(service: Service, run_id: str) -> None:
    wait_for(lambda: service.stage(run_id, "warm_start")["phase"] == "train", what="training", timeout_s=120)
    with service.held_up("checkpoints"):
        service.trains(run_id, "warm_start")
        service.kill("worker-gpu")
    service.start("worker-gpu")


def _revisions(service: Service, run_id: str) -> dict[tuple[str, int], tuple[Any, ...]]:
    rows = service.pages(f"/v1/runs/{run_id}/revisions")
    found = {
        (row["prompt_id"], row["step"]): (row["principle"], row["critique"], row["text"], row["seed"]) for row in rows
    }
    assert len(found) == len(rows)
    return found


def _checkpoints(service: Service, run_id: str, kind: str) -> list[dict[str, Any]]:
    return [row for row in service.pages("/v1/checkpoints", run=run_id) if row["kind"] == kind]


def _completions(service: Service, run_id: str, split: str) -> list[tuple[str, int, str]]:
    rows = service.pages(f"/v1/runs/{run_id}/completions", split=split, source="base")
    return sorted((row["prompt_id"], row["position"], row["text"]) for row in rows)
