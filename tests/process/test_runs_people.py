"""A run goes on from its verdicts with what people answer about them, and says so in every preference."""

from __future__ import annotations

from typing import Any

import pytest

from tests.process.service import Json, Service

ASKED = 10
LEAN = {"A": 1.0, "TIE": 0.5, "B": 0.0}


@pytest.fixture(scope="module")
def judged_run(running_service: Service) -> str:
    """A run that ends with what its judge believes."""
    run_id = running_service.submit(recipe={"stop_after": "prefer"}, evaluation_judge=None)
    return str(running_service.finished(run_id)["id"])


@pytest.fixture(scope="module")
def answered(running_service: Service, judged_run: str) -> tuple[str, dict[str, str]]:
    """A queue in which one person has answered ten comparisons of the run, and their answers by comparison."""
    service = running_service
    body = {"name": service.name("queue"), "rubric": service.parts_of_runs.rubric}
    path = f"/v1/annotation-queues/{service.post('/v1/annotation-queues', body)['id']}"
    by = [{"reason": "low_margin"}, {"reason": "random"}]
    assert service.post(f"{path}:route", {"run": judged_run, "limit": ASKED, "by": by})["routed"] == ASKED
    presses = iter(["A", "A", "B", "TIE"] * ASKED)
    while (claimed := service.client.post(f"{path}/claims", json={"annotator": "ada"})).status_code == 200:
        claim = claimed.json()
        given = {"token": claim["token"], "answer": next(presses), "seconds": 2.0}
        service.post(f"{path}/claims/{claim['id']}:answer", given)
    answers = {each["comparison_id"]: each["answer"] for each in service.pages(f"{path}/annotations")}
    assert len(answers) == ASKED
    assert {item["state"] for item in service.pages(f"{path}/items")} == {"done"}
    return path.rpartition("/")[2], answers


def preferences(service: Service, run_id: str) -> dict[str, Json]:
    rows = service.pages(f"/v1/runs/{run_id}/preferences", include_dropped=True)
    return {row["comparison_id"]: row for row in rows}


def forked(service: Service, run_id: str, **people: Any) -> dict[str, Json]:
    recipe = {"stop_after": "prefer", "prefer": {"people": people}}
    fork = service.fork(run_id, "prefer", recipe=recipe)
    assert service.finished(fork)["stages"][1]["status"] == "reused"
    return preferences(service, fork)


class TestForkedFromItsVerdicts:
    def test_peoples_settled_answers_replace_the_judges(
        self, service: Service, judged_run: str, answered: tuple[str, dict[str, str]]
    ) -> None:
        queue_id, answers = answered
        before, after = preferences(service, judged_run), forked(service, judged_run, queue=queue_id)
        assert before.keys() == after.keys() > answers.keys()
        for id_, row in after.items():
            people, judged = row["provenance"]["people"], before[id_]["probability"]
            assert (people["queue_id"], people["policy"], people["judged"]) == (queue_id, "people_first", judged)
            assert (people["heeded"], people["settled"]) == (id_ in answers, answers.get(id_))
            assert row["probability"] == LEAN.get(answers.get(id_, ""), judged)
            assert people["annotators"] == sum(people["answers"].values()) == (id_ in answers)
            assert {key: row["provenance"][key] for key in before[id_]["provenance"]} == before[id_]["provenance"]
        assert "people" not in next(iter(before.values()))["provenance"]

    def test_a_judge_that_is_worth_votes(
        self, service: Service, judged_run: str, answered: tuple[str, dict[str, str]]
    ) -> None:
        queue_id, answers = answered
        before = preferences(service, judged_run)
        after = forked(service, judged_run, queue=queue_id, policy="weighted", judge_votes=3.0)
        for id_, row in after.items():
            judged = before[id_]["probability"]
            if id_ in answers:
                assert row["probability"] == pytest.approx((3 * judged + LEAN[answers[id_]]) / 4)
            else:
                assert row["probability"] == judged

    def test_people_who_are_only_recorded(
        self, service: Service, judged_run: str, answered: tuple[str, dict[str, str]]
    ) -> None:
        queue_id, answers = answered
        before = preferences(service, judged_run)
        after = forked(service, judged_run, queue=queue_id, policy="ignore")
        assert {id_: row["probability"] for id_, row in after.items()} == {
            id_: row["probability"] for id_, row in before.items()
        }
        said = {id_: row["provenance"]["people"]["settled"] for id_, row in after.items()}
        assert {id_: answer for id_, answer in said.items() if answer is not None} == answers

    def test_a_queue_that_is_not_there(self, service: Service, judged_run: str) -> None:
        recipe = {"stop_after": "prefer", "prefer": {"people": {"queue": "queue_x"}}}
        body = {"name": service.name("fork"), "fork": {"run": judged_run, "from_stage": "prefer"}, "recipe": recipe}
        answer = service.client.post("/v1/runs", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "people_refused")
        assert answer.json()["field"] == "recipe.prefer.people.queue"
