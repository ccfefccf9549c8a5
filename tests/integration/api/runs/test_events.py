"""Events as pages and as a stream: in order, none lost, none twice, whatever breaks in between."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.integration.api.runs.service import Client, Service


class TestPage:
    def test_in_order_over_pages(self, client: Client) -> None:
        run = client.run()
        client.post(f"/v1/runs/{run['id']}:pause", expect=200)
        client.post(f"/v1/runs/{run['id']}:resume", expect=200)
        rows = client.rows(f"/v1/runs/{run['id']}/events", limit=1)
        assert [row["type"] for row in rows] == [
            "run.queued",
            "run.pause_requested",
            "run.paused",
            "run.resumed",
        ]
        assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
        assert rows == client.rows(f"/v1/runs/{run['id']}/events")

    def test_another_lists_cursor_is_refused(self, client: Client) -> None:
        first, second = client.run(), client.run()
        client.post(f"/v1/runs/{first['id']}:pause", expect=200)
        after = client.get(f"/v1/runs/{first['id']}/events", limit=1)["after"]
        problem = client.get(f"/v1/runs/{second['id']}/events", expect=400, after=after)
        assert problem["code"] == "invalid_cursor"


class TestStream:
    def test_follows_a_run_to_its_end(self, client: Client) -> None:
        run = client.run(recipe={"stop_after": "judge"}, evaluation_judge=None)
        with _stream(client, run["id"]) as events:
            first = next(events)
            assert first["type"] == "run.queued"
            worker = threading.Thread(target=client.drive, args=[run["id"]])
            worker.start()
            seen = [first, *events]
            worker.join()
        assert [event["type"] for event in seen] == [
            "run.queued",
            "run.started",
            "stage.started",
            "stage.succeeded",
            "stage.started",
            "stage.succeeded",
            "run.succeeded",
        ]

    def test_the_stream_and_the_pages_are_the_same_rows(self, client: Client) -> None:
        run = client.run(recipe={"stop_after": "sample"}, evaluation_judge=None)
        client.drive(run["id"])
        with _stream(client, run["id"]) as events:
            assert list(events) == client.rows(f"/v1/runs/{run['id']}/events")

    def test_reconnecting_loses_and_repeats_nothing(self, client: Client) -> None:
        """The connection is cut behind every third event while others go on steering the run."""
        run = client.run()
        crowd = threading.Thread(target=_steer, args=[client, run["id"]])
        crowd.start()
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["type"] != "run.cancelled":
            with _stream(client, run["id"], after=seen[-1]["id"] if seen else 0) as events:
                seen += [event for _, event in zip(range(3), events, strict=False)]
        crowd.join()
        assert seen == client.rows(f"/v1/runs/{run['id']}/events", limit=200)
        assert len(seen) > 30

    def test_concurrent_writers_are_seen_in_order(self, client: Client) -> None:
        """Ids are drawn before commits: a reader behind the last id must not step over one that commits later."""
        run = client.run()
        crowd = threading.Thread(target=_steer, args=[client, run["id"]])
        with _stream(client, run["id"]) as events:
            crowd.start()
            seen = list(events)
        crowd.join()
        assert seen == client.rows(f"/v1/runs/{run['id']}/events", limit=200)
        assert seen[-1]["type"] == "run.cancelled"

    def test_nothing_left_to_come_is_204(self, client: Client) -> None:
        run = client.run()
        client.post(f"/v1/runs/{run['id']}:cancel", expect=200)
        last = client.rows(f"/v1/runs/{run['id']}/events")[-1]["id"]
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(last)}
        assert client.http.get(f"/v1/runs/{run['id']}/events", headers=headers).status_code == 204

    def test_a_forged_last_event_id_is_refused(self, client: Client) -> None:
        run = client.run()
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "x"}
        problem = client.get(f"/v1/runs/{run['id']}/events", expect=422, headers=headers)
        assert problem["field"] == "Last-Event-ID"


class TestMetrics:
    def test_by_stage_and_step_over_pages(self, client: Client, service: Service) -> None:
        run = client.run()
        client.drive(run["id"], stop_before="reward_model")
        for _ in ("reward_model", "policy"):
            client.train(run["id"], steps=5)
        rows = client.rows(f"/v1/runs/{run['id']}/metrics", limit=3)
        assert [(row["stage"], row["step"]) for row in rows] == [
            (stage, step) for stage in ("reward_model", "policy") for step in range(1, 6)
        ]
        assert rows[0]["data"] == {"loss": 1.0}

    def test_a_reused_stages_come_from_its_run(self, client: Client) -> None:
        source = client.run()
        client.drive(source["id"], stop_before="reward_model")
        client.train(source["id"], steps=2)
        client.drive(source["id"])
        fork = client.run(fork={"run": source["id"], "from_stage": "policy"})
        rows = client.rows(f"/v1/runs/{fork['id']}/metrics")
        assert [(row["stage"], row["step"]) for row in rows] == [("reward_model", 1), ("reward_model", 2)]


@contextmanager
def _stream(client: Client, run_id: str, *, after: int = 0) -> Iterator[Iterator[dict[str, Any]]]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(after)} if after else {})
    with client.http.stream("GET", f"/v1/runs/{run_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield _events(answer)


def _events(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if fields:
            event = json.loads(fields["data"])
            assert (fields["id"], fields["event"]) == (str(event["id"]), event["type"])
            yield event
        fields = {}


def _steer(client: Client, run_id: str) -> None:
    """Four clients pause and resume the run at the same time; when all are through, it is cancelled."""
    threads = [threading.Thread(target=_pause_and_resume, args=[client, run_id, 12]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client.post(f"/v1/runs/{run_id}:cancel", expect=200)


def _pause_and_resume(client: Client, run_id: str, times: int) -> None:
    headers = {"Authorization": f"Bearer {client.key}"}
    with httpx.Client(base_url=client.service.url, headers=headers) as http:
        for _ in range(times):
            assert http.post(f"/v1/runs/{run_id}:pause").status_code == 200
            assert http.post(f"/v1/runs/{run_id}:resume").status_code in (200, 409)
