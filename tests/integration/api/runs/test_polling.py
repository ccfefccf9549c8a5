"""Polling is cheap: one indexed statement, 304 while nothing has changed, a long poll that the change wakes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest
from sqlalchemy import event, text

from app.repositories import runs
from app.services import engine
from tests.integration.api.runs.service import Client, Service
from tests.stack import wait_for

RUN_TABLES = ["judges", "judges", "prompt_sets", "runs", "stages"]


class TestConditionalGet:
    def test_unchanged_is_304_without_a_body(self, client: Client) -> None:
        path = f"/v1/runs/{client.run()['id']}"
        etag = client.http.get(path).headers["ETag"]
        again = client.http.get(path, headers={"If-None-Match": etag})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)

    def test_changed_is_200_with_another_tag(self, client: Client) -> None:
        run = client.run()
        path = f"/v1/runs/{run['id']}"
        etag = client.http.get(path).headers["ETag"]
        client.post(f"{path}:pause", expect=200)
        again = client.http.get(path, headers={"If-None-Match": etag})
        assert again.status_code == 200
        assert again.headers["ETag"] != etag

    def test_retry_after_until_the_end(self, client: Client) -> None:
        path = f"/v1/runs/{client.run()['id']}"
        assert client.http.get(path).headers["Retry-After"] == "2"
        client.post(f"{path}:cancel", expect=200)
        assert "Retry-After" not in client.http.get(path).headers

    def test_a_poll_costs_the_key_and_one_read(self, client: Client, service: Service) -> None:
        """A 200 is one statement beside the authentication's, a 304 one row of one table."""
        path = f"/v1/runs/{client.run()['id']}"
        with _statements(service) as of_200:
            etag = client.http.get(path).headers["ETag"]
        with _statements(service) as of_304:
            assert client.http.get(path, headers={"If-None-Match": etag}).status_code == 304
        assert [_tables(statement) for statement in of_200] == [["api_keys"], RUN_TABLES]
        assert [_tables(statement) for statement in of_304] == [["api_keys"], ["runs"]]

    def test_the_statement_goes_by_indexes(self, client: Client, service: Service) -> None:
        """With thousands of runs about, no plan node reads a whole table."""
        run = client.run()
        with service.sessions.begin() as session:
            _crowd(session, run["id"], client.project_id)
            query = runs.snapshot(client.project_id, run["id"])
            compiled = str(query.compile(dialect=service.database.dialect, compile_kwargs={"literal_binds": True}))
            plan = session.scalar(text("EXPLAIN (FORMAT JSON) " + compiled.replace(":", r"\:")))
        nodes = list(_nodes(plan[0]["Plan"]))
        big = {"runs", "stages", "prompt_sets"}
        assert {node["Relation Name"] for node in nodes if "Relation Name" in node} >= {"runs", "stages"}
        assert [node for node in nodes if node["Node Type"] == "Seq Scan" and node["Relation Name"] in big] == []


class TestProgress:
    def test_shows_how_far_how_fast_and_how_long_still(self, client: Client) -> None:
        run = client.run()
        client.work(run["id"], units=2)
        sample = client.get(f"/v1/runs/{run['id']}")["stages"][0]
        assert (sample["done_shards"], sample["total_shards"]) == (1, 3)
        assert (sample["done_units"], sample["total_units"]) == (2, 6)
        assert sample["throughput"] > 0
        assert sample["eta_seconds"] == pytest.approx(4 / sample["throughput"])

    def test_counts_are_those_of_the_present_phase(self, client: Client) -> None:
        run = client.run()
        client.drive(run["id"], stop_before="evaluate")
        assert client.get(f"/v1/runs/{run['id']}")["stages"][5]["phase"] == "sample"
        client.work(run["id"], units=2)
        scoring = client.get(f"/v1/runs/{run['id']}")["stages"][5]
        assert (scoring["phase"], scoring["done_units"], scoring["total_units"]) == ("score", 0, 1)
        assert (scoring["throughput"], scoring["eta_seconds"]) == (None, None)

    @pytest.mark.parametrize("idle", ["paused", "given back", "failed"])
    def test_idle_time_is_no_part_of_the_pace(self, client: Client, service: Service, idle: str) -> None:
        """An hour without work between two units that take no time: the rest will not take an hour."""
        run = client.run()
        path = f"/v1/runs/{run['id']}"
        client.work(run["id"], units=2)
        match idle:
            case "paused":
                client.post(f"{path}:pause", expect=200)
            case "given back":
                client.give_back_next(run["id"])
            case _:
                client.fail_next(run["id"])
        _an_hour_passes(service, run["id"])
        resting = client.get(path)["stages"][0]
        assert (resting["throughput"], resting["eta_seconds"]) == (None, None)
        if idle == "paused":
            client.post(f"{path}:resume", expect=200)
        if idle == "failed":
            client.post(f"{path}:retry", expect=200)
        client.work(run["id"], units=2)
        assert client.get(path)["stages"][0]["eta_seconds"] < 60

    def test_shows_what_a_stage_waits_for_and_since_when(self, client: Client) -> None:
        run = client.run()
        assert client.get(f"/v1/runs/{run['id']}")["stages"][0]["waiting_for"] is None
        client.give_back_next(run["id"])
        waiting = client.get(f"/v1/runs/{run['id']}")["stages"][0]["waiting_for"]
        told = client.rows(f"/v1/runs/{run['id']}/events")[-1]
        assert (waiting["code"], waiting["detail"]) == ("judge_unavailable", "It is down.")
        assert (told["type"], told["data"]["code"]) == ("shard.given_back", "judge_unavailable")
        assert waiting["since"][:19] == told["created_at"][:19]
        client.post(f"/v1/runs/{run['id']}:cancel", expect=200)
        assert client.get(f"/v1/runs/{run['id']}")["stages"][0]["waiting_for"] is None

    def test_a_finished_stage_has_no_pace(self, client: Client) -> None:
        run = client.run(recipe={"stop_after": "sample"}, evaluation_judge=None)
        client.drive(run["id"])
        stage = client.get(f"/v1/runs/{run['id']}")["stages"][0]
        assert (stage["status"], stage["throughput"], stage["eta_seconds"]) == ("succeeded", None, None)


class TestLongPoll:
    def test_is_woken_by_the_change(self, client: Client) -> None:
        run = client.run()
        with _Poll(client, run["id"], wait=20) as poll:
            changed_at = time.monotonic()
            client.post(f"/v1/runs/{run['id']}:pause", expect=200)
        assert poll.answer.json()["status"] == "paused"
        assert poll.ended_at - changed_at < 2

    def test_answers_304_when_the_time_is_up(self, client: Client) -> None:
        path = f"/v1/runs/{client.run()['id']}"
        etag = client.http.get(path).headers["ETag"]
        started = time.monotonic()
        answer = client.http.get(path, params={"wait": 1}, headers={"If-None-Match": etag})
        assert answer.status_code == 304
        assert 0.9 < time.monotonic() - started < 5

    def test_a_stale_tag_is_answered_at_once(self, client: Client) -> None:
        path = f"/v1/runs/{client.run()['id']}"
        started = time.monotonic()
        assert client.http.get(path, params={"wait": 20}, headers={"If-None-Match": 'W/"0"'}).status_code == 200
        assert time.monotonic() - started < 5

    def test_a_finished_run_is_answered_at_once(self, client: Client) -> None:
        path = f"/v1/runs/{client.run()['id']}"
        client.post(f"{path}:cancel", expect=200)
        started = time.monotonic()
        assert client.get(path, wait=20)["status"] == "cancelled"
        assert time.monotonic() - started < 5

    def test_one_listener_for_all_and_no_connection_for_those_who_wait(self, client: Client, service: Service) -> None:
        """Twenty wait; the pool has ten connections, and every one of them is free for others."""
        ids = [client.run()["id"] for _ in range(2)]
        polls = [_Poll(client, ids[number % 2], wait=30) for number in range(20)]
        for poll in polls:
            poll.start()
        wait_for(lambda: _listeners(service) == 1, what="the one listener")
        for run_id in ids:
            client.post(f"/v1/runs/{run_id}:pause", expect=200)
        for poll in polls:
            poll.join(10)
            assert poll.answer.json()["status"] == "paused"

    def test_a_lost_listener_comes_back(self, client: Client, service: Service) -> None:
        run = client.run()
        with _Poll(client, run["id"], wait=20) as poll:
            with psycopg.connect(_dsn(service), autocommit=True) as connection:
                killed = connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s",
                    ("rlaif-notifications",),
                ).fetchall()
            assert killed
            with service.sessions.begin() as session:
                engine.touch(session, run["id"])
        assert poll.answer.json()["version"] == run["version"] + 1

    @pytest.mark.parametrize("wait", ["-1", "61", "soon"])
    def test_refuses_other_waits(self, client: Client, wait: str) -> None:
        assert client.get(f"/v1/runs/{client.run()['id']}", expect=422, wait=wait)["field"] == "wait"


class _Poll(threading.Thread):
    """A long poll on the run as it is now, in a thread; inside `with` it is known to wait."""

    def __init__(self, client: Client, run_id: str, *, wait: int) -> None:
        super().__init__(daemon=True)
        self._client, self._path, self._wait = client, f"/v1/runs/{run_id}", wait
        self._etag = client.http.get(self._path).headers["ETag"]
        self.answer: httpx.Response
        self.ended_at = 0.0

    def run(self) -> None:
        headers = {"Authorization": f"Bearer {self._client.key}", "If-None-Match": self._etag}
        url = self._client.service.url + self._path
        self.answer = httpx.get(url, params={"wait": self._wait}, headers=headers, timeout=60)
        self.ended_at = time.monotonic()

    def __enter__(self) -> _Poll:
        self.start()
        wait_for(lambda: _listeners(self._client.service) == 1, what="the listener")
        return self

    def __exit__(self, *_: object) -> None:
        self.join(30)
        assert not self.is_alive()


@contextmanager
def _statements(service: Service) -> Iterator[list[str]]:
    """Every statement that the API sends meanwhile."""
    sent: list[str] = []

    def note(*args: Any) -> None:
        sent.append(args[2])

    event.listen(service.database, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(service.database, "before_cursor_execute", note)


def _tables(statement: str) -> list[str]:
    assert statement.startswith("SELECT"), statement
    return sorted(re.findall(r"(?:FROM|JOIN) (\w+)", statement))


def _an_hour_passes(service: Service, run_id: str) -> None:
    earlier = (
        "UPDATE stages SET started_at = started_at - interval '1 hour', pace_from = pace_from - interval '1 hour'",
        "UPDATE shards SET started_at = started_at - interval '1 hour', not_before = not_before - interval '1 hour'",
    )
    with service.sessions.begin() as session:
        for statement in earlier:
            session.execute(text(f"{statement} WHERE run_id = :run"), {"run": run_id})


def _listeners(service: Service) -> int:
    with service.sessions() as session:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rlaif-notifications'"
        return int(session.scalar(text(query)) or 0)


def _dsn(service: Service) -> str:
    return service.database.url.set(drivername="postgresql").render_as_string(hide_password=False)


def _nodes(plan: dict[str, Any]) -> Any:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _crowd(session: Any, run_id: str, project_id: str) -> None:
    """Rows enough that a scan of the whole table would cost."""
    copies = """
        INSERT INTO runs (id, project_id, name, status, recipe, prompt_set_id, base_model_id, version)
        SELECT 'run_' || n, project_id, name, status, recipe, prompt_set_id, base_model_id, 1
        FROM runs, generate_series(1, 3000) AS n WHERE id = :run
    """
    stages = """
        INSERT INTO stages (id, project_id, run_id, round, position, kind, status, phase, total_shards, done_shards,
            total_units, done_units, metrics, judge_usd, judge_calls, prompt_tokens, completion_tokens, compute_seconds,
            pace_units)
        SELECT 'stage_' || n || s.id, s.project_id, 'run_' || n, s.round, s.position, s.kind, s.status, 0, 0, 0, 0, 0,
            '{}', 0, 0, 0, 0, 0, 0
        FROM stages AS s, generate_series(1, 3000) AS n WHERE s.run_id = :run
    """
    for statement in (copies, stages):
        session.execute(text(statement), {"run": run_id})
    session.execute(text("ANALYZE runs"))
    session.execute(text("ANALYZE stages"))
