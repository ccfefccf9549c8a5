"""Sweeps through the API: the right checkpoint is promoted, whatever is killed meanwhile, and the report says why."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.process.service import EXAMPLES, Json, Service
from tests.stack import wait_for

BROKEN = {"learning_rate": 1.0, "max_grad_norm": 1000.0, "beta": 100.0, "sft_weight": 100.0}
"""Settings that leave nothing of the model: it says a few words over and over."""
VARIED = {
    "name": "varied",
    "description": "The answer does not say the same few words over and over.",
    "weight": 5.0,
    "check": {"kind": "repetition", "ngram": 1, "maximum": 0.4},
}
NO_SENTENCE = {
    "name": "no_sentence",
    "description": "A criterion that only broken text meets.",
    "weight": 5.0,
    "check": {"kind": "pattern", "pattern": "[a-z][.!?]( |$)|(is|are|was) [a-z]+ ", "must_match": False},
}


def own_policies(service: Service, run_id: str) -> list[Json]:
    rows = [row for row in service.pages("/v1/checkpoints", run=run_id) if row["run_id"] == run_id]
    return sorted(rows, key=lambda row: int(row["candidate"]))


@pytest.fixture(scope="module")
def swept(running_service: Service, checked_run: str) -> str:
    """A sweep that goes on from `checked_run`'s reward model, its workers killed in training and at the very end."""
    service = running_service
    service.mend()
    judge = {"kind": "checks", "family": "form-checks", "criteria": [VARIED]}
    run_id = service.fork(
        checked_run,
        "policy",
        recipe={"sweep": {"candidates": [BROKEN, {}]}},
        evaluation_judge=service.post("/v1/judges", {"name": service.name("varied"), "spec": judge})["id"],
    )
    service.opens(run_id, "policy")
    with service.held_up("checkpoints"):
        service.trains(run_id, "policy")
        service.kill("worker-gpu")
    service.start("worker-gpu")
    with service.held_up("evaluations") as somebody_waits:
        wait_for(somebody_waits, what="somebody about to write evaluations", timeout_s=120)
        service.kill("worker-io")
    service.start("worker-io")
    return str(service.finished(run_id)["id"])


class TestSweep:
    def test_the_sane_candidate_is_promoted_and_the_broken_one_is_not(self, service: Service, swept: str) -> None:
        broken, sane = own_policies(service, swept)
        assert [(row["candidate"], row["selected"], row["promoted"]) for row in (broken, sane)] == [
            (0, False, False),
            (1, True, True),
        ]
        told = service.events(swept, "sweep.selected")
        assert [(event["data"]["candidate"], event["data"]["checkpoint"]) for event in told] == [(1, sane["id"])]
        promoted = service.events(swept, "checkpoint.promoted")
        assert [event["data"]["checkpoint"] for event in promoted] == [sane["id"]]

    def test_what_was_killed_was_done_once(self, service: Service, swept: str) -> None:
        failures = service.events(swept, "shard.attempt_failed")
        assert {event["data"]["stage"] for event in failures} == {"policy", "evaluate"}
        evaluations = service.pages(f"/v1/runs/{swept}/evaluations")
        assert sorted(row["candidate"] for row in evaluations) == [0, 1]
        answered = service.pages(f"/v1/runs/{swept}/completions", source="policy")
        units = [(row["candidate"], row["prompt_id"], row["position"]) for row in answered]
        assert len(units) == len(set(units)) == 2 * len({prompt for _, prompt, _ in units})

    def test_the_report_says_why(self, service: Service, swept: str) -> None:
        report = service.get(f"/v1/runs/{swept}/report")
        (sweep,) = report["sweeps"]
        assert sweep["selected"] == 1
        assert report["headline"]["win_rate"] == sweep["candidates"][1]["win_rate"]
        assert {curves["candidate"] for curves in report["curves"] if curves["stage"] == "policy"} == {0, 1}
        for form in ("markdown", "html"):
            page = service.client.get(f"/v1/runs/{swept}/report", params={"format": form}).text
            assert "Sweep" in page
            assert "Candidate 1 has the highest win rate" in page

    def test_metrics_are_listed_by_candidate(self, service: Service, swept: str) -> None:
        rows = service.pages(f"/v1/runs/{swept}/metrics")
        places = [(row["candidate"], row["step"]) for row in rows if row["stage"] == "policy"]
        assert places == sorted(set(places))
        assert {candidate for candidate, _ in places} == {0, 1}

    def test_any_candidate_can_be_measured_again(self, service: Service, swept: str) -> None:
        broken = own_policies(service, swept)[0]
        judge = service.parts_of_runs.evaluation_judge
        again = service.post(
            f"/v1/checkpoints/{broken['id']}/evaluations", {"name": service.name("again"), "judge": judge}
        )
        service.finished(again["id"])
        (evaluation,) = service.pages(f"/v1/runs/{again['id']}/evaluations")
        assert (evaluation["candidate"], evaluation["checkpoint_id"]) == (0, broken["id"])
        assert service.get(f"/v1/checkpoints/{broken['id']}")["promoted"] is False


class TestCapability:
    def test_one_that_wins_overall_but_loses_the_capability_cohort_is_not_promoted(self, service: Service) -> None:
        run_id = service.submit(
            prompt_set=_prompts(service),
            judge=_training_judge(service),
            evaluation_judge=_of_the_prompts(service),
            recipe={"sweep": {"candidates": [BROKEN, {}]}, "evaluate": {"bootstrap_samples": 200}},
        )
        service.finished(run_id)
        (sweep,) = service.get(f"/v1/runs/{run_id}/report")["sweeps"]
        broken, sane = sweep["candidates"]
        assert broken["win_rate"]["value"] > sane["win_rate"]["value"]
        assert broken["by_cohort"]["capability"]["high"] < 0.5
        assert (sweep["selected"], sweep["promoted"]) == (1, True)
        assert "Candidate 0, whose higher win rate" in sweep["reason"]
        assert "cohort 'capability' may fall to 0.500" in sweep["reason"]
        assert [row["promoted"] for row in own_policies(service, run_id) if row["kind"] == "policy"] == [False, True]


class TestRefusals:
    @pytest.mark.parametrize(
        ("recipe", "field"),
        [
            ({"sweep": {"policy": {"beta": [0.1, -1.0]}}}, "recipe.sweep.policy.beta"),
            (
                {"sweep": {"policy": {"beta": [0.1, 0.2]}, "capability_cohorts": ["nobody"]}},
                "recipe.sweep.capability_cohorts",
            ),
            ({"evaluate": {"candidate": 0}}, "recipe.evaluate.candidate"),
            (
                {"sweep": {"policy": {"beta": [0.1, 0.2]}}, "evaluate": {"candidate": 1}},
                "recipe.evaluate.candidate",
            ),
        ],
    )
    def test_a_bad_sweep_is_refused_before_anything_is_spent(
        self, service: Service, checked_run: str, recipe: dict[str, Any], field: str
    ) -> None:
        body = {"name": service.name("bad"), "fork": {"run": checked_run, "from_stage": "policy"}, "recipe": recipe}
        answer = service.client.post("/v1/runs", json=body)
        assert answer.status_code == 422
        problem = answer.json()
        assert field in json.dumps(problem)

    def test_a_fork_from_evaluate_keeps_the_sweep_that_was_trained(self, service: Service, swept: str) -> None:
        body = {
            "name": service.name("other"),
            "fork": {"run": swept, "from_stage": "evaluate"},
            "recipe": {"sweep": {"policy": {"beta": [0.1, 0.2]}}},
        }
        answer = service.client.post("/v1/runs", json=body)
        assert answer.status_code == 422
        assert "whose stage is reused" in answer.json()["detail"]


def _prompts(service: Service) -> str:
    """Held-out prompts by whose own criteria broken text wins, but where capability is asked for."""
    lines = [json.loads(line) for line in (EXAMPLES / "prompts.jsonl").read_text(encoding="utf-8").splitlines()]
    train = [line for line in lines if line["split"] == "train"][:12]
    held_out = [line for line in lines if line["split"] == "held_out"]
    asked = [line for line in held_out if line["cohort"] == "capability"][:5]
    chatted = [line for line in held_out if line["cohort"] == "helpfulness"][:20]
    prompts = [
        *train,
        *({**line, "criteria": [VARIED]} for line in asked),
        *({**line, "criteria": [NO_SENTENCE]} for line in chatted),
    ]
    return str(service.post("/v1/prompt-sets", {"name": service.name("cohorts"), "prompts": prompts})["id"])


def _training_judge(service: Service) -> str:
    spec = json.loads((EXAMPLES / "evaluation_judge.json").read_text(encoding="utf-8"))["spec"]
    return str(service.post("/v1/judges", {"name": service.name("trains"), "spec": spec})["id"])


def _of_the_prompts(service: Service) -> str:
    """A judge that goes by the rubric and by each prompt's own criteria, which weigh more."""
    return service.parts_of_runs.checks_judge
