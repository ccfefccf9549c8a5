"""Judges measured on people's labels by real processes, runs that use what was measured, gates that refuse them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.rlaif.comparison import Answer
from benchmarks.human_labels import HumanLabelled, llmbar
from tests.integration.stages.labelled import labelled_prompts
from tests.process.service import Service
from tests.stack import wait_for

DATA = Path(__file__).parents[3] / "shared" / "data"
Json = dict[str, Any]
needs_llmbar = pytest.mark.skipif(
    not (DATA / "llmbar.jsonl").exists(), reason="there is no ../shared/data/llmbar.jsonl"
)


def upload(service: Service, path: str, rows: Iterator[Json]) -> str:
    answer = service.client.post(
        path,
        params={"name": service.name("upload")},
        headers={"Content-Type": "application/jsonl"},
        content="\n".join(json.dumps(row) for row in rows).encode(),
    )
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def labelled(comparisons: Sequence[HumanLabelled]) -> Iterator[Json]:
    """LLMBar as a labelled set: each comparison a prompt with two candidates and a person's answer."""
    for each in comparisons:
        yield {
            "id": each.id,
            "messages": [{"role": "user", "content": each.prompt}],
            "split": "train",
            "candidates": [each.first, each.second],
            "annotations": [{"first": 0, "second": 1, "annotator": "gold", "answer": each.people[0].value}],
        }


def answers(comparisons: Sequence[HumanLabelled], judge: str) -> Iterator[Json]:
    """One judge's stored answers, in both orders."""
    for each in comparisons:
        for order, answer in each.stored[judge].items():
            row = {"prompt_id": each.id, "first": 0, "second": 1, "order": order.value, "answer": answer.value}
            yield row | ({"invalid_reason": "parse"} if answer is Answer.INVALID else {})


def revision(service: Service) -> str:
    return str(service.get(f"/v1/rubrics/{service.parts_of_runs.rubric}")["revision"]["id"])


def calibrate(service: Service, judge: str, prompt_set: str, **body: Any) -> Json:
    made = service.post(
        "/v1/calibrations",
        {
            "name": service.name("calibration"),
            "judge": judge,
            "rubric_revision_id": revision(service),
            "prompt_set": prompt_set,
            **body,
        },
    )
    assert made["report"] is None

    def probe() -> Json | None:
        found: Json = service.get(f"/v1/calibrations/{made['id']}", wait=30)
        assert found["status"] in ("queued", "running", "succeeded"), found
        return found if found["status"] == "succeeded" else None

    return wait_for(probe, what="a calibration", timeout_s=180)


def word_judge(service: Service, word: str, family: str) -> str:
    """A program that prefers the response with the word."""
    check = {"kind": "words", "any_of": [word]}
    criteria = [{"name": word, "description": f"Says {word}.", "check": check}]
    spec = {"kind": "checks", "family": family, "criteria": criteria}
    return str(service.post("/v1/judges", {"name": service.name("judge"), "spec": spec})["id"])


@pytest.fixture(scope="module")
def words(running_service: Service) -> str:
    """A labelled set in which the better answer says `sound`, and either may say `weak`."""
    running_service.mend()
    return upload(running_service, "/v1/prompt-sets:upload", iter(labelled_prompts(60)))


@pytest.fixture(scope="module")
def replayed_panel(running_service: Service) -> Json:
    """Six judges' stored answers to LLMBar, as a panel."""
    service = running_service
    service.mend()
    comparisons = llmbar(DATA)
    labels = upload(service, "/v1/prompt-sets:upload", labelled(comparisons))
    members = []
    for name in comparisons[0].judges:
        stored = upload(service, "/v1/answer-sets", answers(comparisons, name))
        spec = {"kind": "replay", "family": name.lower(), "answers": stored}
        members.append(service.post("/v1/judges", {"name": service.name(name), "spec": spec})["id"])
    panel = {"name": service.name("panel"), "spec": {"kind": "panel", "members": members}}
    return calibrate(service, service.post("/v1/judges", panel)["id"], labels)


@needs_llmbar
class TestReplayedPanel:
    def test_it_beats_its_best_member_out_of_fold(self, replayed_panel: Json) -> None:
        report = replayed_panel["report"]
        assert report["labels"]["comparisons"] == 419
        assert report["instrument"]["accuracy"]["value"] >= 0.86
        assert report["instrument"]["ece"]["value"] <= 0.06
        best = max(judge["stated"]["accuracy"]["value"] for judge in report["judges"])
        assert best == pytest.approx(0.845, abs=0.001)
        assert report["panel"]["gain_over_best"]["value"] > 0
        assert 1 < report["panel"]["effective_votes"] < 3
        assert report["prefer_longer"]["value"] < 0.3  # LLMBar was built so

    def test_it_reads_as_markdown(self, service: Service, replayed_panel: Json) -> None:
        answer = service.client.get(f"/v1/calibrations/{replayed_panel['id']}/report", params={"format": "markdown"})
        assert answer.headers["content-type"].startswith("text/markdown")
        assert "independent ones" in answer.text
        assert "| chance | 0.500 |" in answer.text


class TestGates:
    def test_a_judge_below_the_gate_starts_no_run(self, service: Service, words: str) -> None:
        judge = word_judge(service, "weak", "weak")
        calibration = calibrate(service, judge, words)
        refused = service.client.post(
            "/v1/runs",
            json={
                "name": service.name("gated"),
                "rubric": revision(service),
                "prompt_set": service.parts_of_runs.prompt_set,
                "base_model": service.parts_of_runs.base_model,
                "judge": judge,
                "evaluation_judge": service.parts_of_runs.evaluation_judge,
                "recipe": {
                    "judge": {"calibration": calibration["id"]},
                    "gates": {"minimum_agreement": 0.9, "maximum_ece": 0.5},
                },
            },
        )
        assert refused.status_code == 409
        problem = refused.json()
        assert problem["code"] == "gate_failed"
        assert [failure["gate"] for failure in problem["failures"]] == ["minimum_agreement"]
        assert problem["failures"][0]["value"] < 0.9
        assert "calibrate again" in problem["detail"]
        assert not service.pages("/v1/runs", status=["queued", "running"])

    def test_what_only_the_run_can_tell_fails_it_before_training(self, service: Service) -> None:
        judge = service.endpoint_judge()
        service.judge.script("refusal", "refusal")
        run_id = service.submit(judge=judge, recipe={"gates": {"minimum_coverage": 1.0}, "stop_after": "policy"})
        run = service.reaches(run_id, "failed")
        assert run["error"]["code"] == "gate_failed"
        assert "minimum_coverage 1" in run["error"]["detail"]
        assert not service.pages("/v1/checkpoints", run=run_id)


class TestUse:
    def test_a_calibrated_panel_makes_a_run_s_preferences(self, service: Service, words: str) -> None:
        members = [word_judge(service, word, word) for word in ("sound", "weak")]
        spec = {"kind": "panel", "members": members}
        panel = service.post("/v1/judges", {"name": service.name("panel"), "spec": spec})["id"]
        calibration = calibrate(service, panel, words)
        run_id = service.submit(
            judge=panel,
            prompt_set=upload(service, "/v1/prompt-sets:upload", iter(labelled_prompts(120)[60:])),
            recipe={
                "sample": {"source": "prompt_set"},
                "judge": {"calibration": calibration["id"]},
                "gates": {"minimum_agreement": 0.8, "minimum_effective_votes": 1.0},
                "stop_after": "prefer",
            },
        )
        service.finished(run_id)
        preferences = service.pages(f"/v1/runs/{run_id}/preferences")
        assert len(preferences) == 60
        assert all(0.0 < row["probability"] < 1.0 for row in preferences)
        assert {row["provenance"]["calibration"] for row in preferences} == {calibration["id"]}
        assert {tuple(sorted(row["provenance"]["judges"])) for row in preferences} == {tuple(sorted(members))}


class TestCanary:
    def test_the_rescuer_measures_what_is_due(self, service: Service, words: str) -> None:
        baseline = calibrate(service, word_judge(service, "sound", "sound"), words)
        body = {"name": service.name("canary"), "baseline": baseline["id"], "every_hours": 24}
        canary = service.post("/v1/canaries", body)
        assert (canary["drifted"], canary["measurements"]) == (None, [])
        with service.sessions.begin() as session:
            session.execute(
                text("UPDATE canaries SET next_due_at = now() - interval '1 minute' WHERE id = :id"),
                {"id": canary["id"]},
            )

        def probe() -> Json | None:
            found: Json = service.get(f"/v1/canaries/{canary['id']}")
            return found if found["drifted"] is not None else None

        measured = wait_for(probe, what="a canary's measurement", timeout_s=90)
        assert measured["drifted"] is False
        (measurement,) = measured["measurements"]
        assert measurement["drift"]["compared"] == 60
        assert service.post(f"/v1/canaries/{canary['id']}:stop")["next_due_at"] is None
