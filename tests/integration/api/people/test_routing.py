"""Queues, and what is routed to them from a run's verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from app.db.ids import Kind, new_id
from app.db.models import Comparison, Preference, Split
from app.rlaif.preferences import DropReason
from tests.integration.api.people.queue import Queue, at_once, judged_run
from tests.integration.api.runs.service import RUBRIC, Client

BELIEFS: list[dict[str, tuple[float, float]]] = [
    {"trainer": (0.95, 0.95), "second": (0.9, 0.9)},  # 0: clear
    {"trainer": (0.55, 0.55), "second": (0.5, 0.5)},  # 1: nearly even
    {"trainer": (0.9, 0.9), "second": (0.2, 0.2)},  # 2: the judges disagree
    {"trainer": (0.9, 0.2), "second": (0.8, 0.8)},  # 3: the first judge contradicts itself
    {"trainer": (0.99, 0.99), "second": (0.98, 0.98)},  # 4: clearer
]


class TestQueue:
    def test_is_what_was_asked_for(self, client: Client) -> None:
        queue = Queue.create(client, annotators_per_item=3, claim_ttl_s=60, instructions="Read twice.")
        found = client.get(queue.path)
        assert (found["annotators_per_item"], found["claim_ttl_s"], found["instructions"]) == (3, 60, "Read twice.")
        assert found["settle_rule"] == "majority"
        assert found["items"] == {"open": 0, "done": 0, "adjudicate": 0, "adjudicated": 0}
        assert client.get("/v1/annotation-queues", name=found["name"])["data"] == [found]

    def test_counts_its_items(self, queue: Queue) -> None:
        run_id, _ = judged_run(queue.client, BELIEFS)
        queue.route(run_id)
        queue.say("ada", "A")
        queue.say("bo", "A")
        counts = {"open": 4, "done": 1, "adjudicate": 0, "adjudicated": 0}
        assert queue.client.get(queue.path)["items"] == counts
        assert queue.client.get("/v1/annotation-queues")["data"][0]["items"] == counts

    def test_names_are_unique(self, client: Client) -> None:
        Queue.create(client, name="twice")
        rubric = client.get("/v1/rubrics")["data"][0]["id"]
        problem = client.post("/v1/annotation-queues", {"name": "twice", "rubric": rubric}, expect=409)
        assert (problem["code"], problem["field"]) == ("name_taken", "name")

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"annotators_per_item": 0}, "annotators_per_item"),
            ({"claim_ttl_s": 0}, "claim_ttl_s"),
            ({"settle_rule": "coin"}, "settle_rule"),
            ({"color": "red"}, "color"),
        ],
    )
    def test_refused(self, client: Client, changes: dict[str, Any], field: str) -> None:
        rubric = client.post("/v1/rubrics", RUBRIC)["id"]
        body = {"name": "q", "rubric": rubric, **changes}
        assert client.post("/v1/annotation-queues", body, expect=422)["field"] == field

    def test_another_projects_rubric_does_not_exist(self, client: Client, queue: Queue) -> None:
        stranger = queue.client.service.client()
        theirs = stranger.post("/v1/rubrics", RUBRIC)["id"]
        problem = client.post("/v1/annotation-queues", {"name": "q", "rubric": theirs}, expect=404)
        assert (problem["code"], problem["field"]) == ("not_found", "rubric")


class TestRoute:
    @pytest.mark.parametrize(("reason", "chosen"), [("low_margin", [1]), ("disagreement", [2]), ("inconsistent", [3])])
    def test_chooses_by_what_the_judges_said(self, queue: Queue, reason: str, chosen: list[int]) -> None:
        run_id, comparisons = judged_run(queue.client, BELIEFS)
        routed = queue.route(run_id, limit=1, by=[{"reason": reason}])
        assert routed == {"id": queue.id, "routed": 1, "by_reason": {reason: 1}}
        items = queue.items()
        assert [item["comparison_id"] for item in items] == [comparisons[index] for index in chosen]
        assert [(item["reason"], item["state"]) for item in items] == [(reason, "open")]

    def test_shares_and_what_is_not_there(self, queue: Queue) -> None:
        run_id, _ = judged_run(queue.client, BELIEFS)
        by = [{"reason": "disagreement", "share": 3.0}, {"reason": "random", "share": 1.0}]
        assert queue.route(run_id, limit=4, by=by)["by_reason"] == {"disagreement": 1, "random": 1}

    def test_none_comes_in_twice(self, queue: Queue) -> None:
        run_id, comparisons = judged_run(queue.client, BELIEFS)
        assert [queue.route(run_id, limit=3)["routed"] for _ in range(3)] == [3, 2, 0]
        assert sorted(item["comparison_id"] for item in queue.items()) == sorted(comparisons)

    def test_a_replayed_request_routes_once(self, queue: Queue) -> None:
        run_id, _ = judged_run(queue.client, BELIEFS)
        body, headers = {"run": run_id, "limit": 2}, {"Idempotency-Key": "k"}
        first, again = (queue.client.post(f"{queue.path}:route", body, headers=headers) for _ in range(2))
        assert first == again
        assert len(queue.items()) == 2

    def test_a_forks_comparisons_are_those_of_the_run_that_judged(self, queue: Queue) -> None:
        run_id, comparisons = judged_run(queue.client, BELIEFS)
        fork = {"name": "fork", "fork": {"run": run_id, "from_stage": "prefer"}, "recipe": {"stop_after": "prefer"}}
        forked = queue.client.post("/v1/runs", fork)
        assert queue.route(forked["id"])["routed"] == len(comparisons)

    def test_what_a_cascade_put_aside(self, queue: Queue) -> None:
        run_id, comparisons = judged_run(queue.client, BELIEFS)
        with queue.client.service.sessions.begin() as session:
            comparison = session.get_one(Comparison, comparisons[3])
            session.add(
                Preference(
                    id=new_id(Kind.PREFERENCE), project_id=comparison.project_id, run_id=run_id, round=0,
                    comparison_id=comparison.id, split=Split.TRAIN, probability=None, weight=0.0,
                    drop_reason=DropReason.AWAITS_PEOPLE, provenance={},
                )
            )  # fmt: skip
        queue.route(run_id, by=[{"reason": "awaits_people"}])
        assert [item["comparison_id"] for item in queue.items()] == [comparisons[3]]

    def test_requests_at_once_share_what_there_is(self, queue: Queue) -> None:
        run_id, comparisons = judged_run(queue.client, BELIEFS)
        routed = at_once(*[lambda: queue.route(run_id, limit=2)["routed"]] * 4)
        assert sorted(routed) == [0, 1, 2, 2]
        assert sorted(item["comparison_id"] for item in queue.items()) == sorted(comparisons)

    def test_other_purposes(self, queue: Queue) -> None:
        run_id, _ = judged_run(queue.client, BELIEFS)
        assert queue.route(run_id, purposes=["held_out", "evaluation"])["routed"] == 0

    def test_a_run_by_another_rubric_asks_another_question(self, queue: Queue) -> None:
        run = queue.client.run(
            rubric={**RUBRIC, "name": "other", "description": "Other."}, recipe={"stop_after": "judge"},
            evaluation_judge=None,
        )  # fmt: skip
        problem = queue.route(run["id"], expect=422)
        assert (problem["code"], problem["field"]) == ("routing_refused", "run")

    def test_another_projects_run_does_not_exist(self, queue: Queue) -> None:
        stranger = queue.client.service.client()
        run_id, _ = judged_run(stranger, BELIEFS[:1])
        assert queue.route(run_id, expect=404)["code"] == "not_found"

    @pytest.mark.parametrize(
        "changes",
        [{"limit": 0}, {"by": []}, {"by": [{"reason": "whim"}]}, {"by": [{"reason": "random", "share": 0.0}]},
         {"purposes": []}],
    )  # fmt: skip
    def test_refused(self, queue: Queue, changes: dict[str, Any]) -> None:
        queue.route("run", expect=422, **changes)


class TestListings:
    def test_items_by_state_and_as_files(self, queue: Queue) -> None:
        run_id, _ = judged_run(queue.client, BELIEFS)
        queue.route(run_id, limit=2, by=[{"reason": "low_margin"}])
        queue.route(run_id, limit=1, by=[{"reason": "random"}])
        queue.say("ada", "A")
        queue.say("bo", "A")
        assert len(queue.items(state="done")) == 1
        assert {item["reason"] for item in queue.items(reason="low_margin")} == {"low_margin"}
        exported = queue.client.http.get(f"{queue.path}/items", params={"format": "jsonl"})
        assert len(exported.text.splitlines()) == 3
        assert queue.client.http.get(f"{queue.path}/items", params={"format": "parquet"}).content[:4] == b"PAR1"

    def test_annotations_by_person_and_as_files(self, queue: Queue) -> None:
        run_id, _ = judged_run(queue.client, BELIEFS)
        queue.route(run_id)
        given = [queue.say(name, "A") for name in ("ada", "bo", "ada")]
        assert queue.annotations() == given
        assert queue.annotations(annotator="ada") == [given[0], given[2]]
        exported = queue.client.http.get(f"{queue.path}/annotations", params={"format": "jsonl"})
        assert exported.headers["content-type"] == "application/jsonl"
        assert len(exported.text.splitlines()) == 3
        assert queue.client.http.get(f"{queue.path}/annotations", params={"format": "parquet"}).content[:4] == b"PAR1"
