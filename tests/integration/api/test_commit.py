"""The commit comes before the answer, and a database that fails is a 503 that stored nothing (F9, F11)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from app.config import Settings
from tests.integration.api.conftest import api_settings
from tests.live_api import LiveApi, serve

BODY: dict[str, Any] = {"name": "r", "criteria": [{"name": "c", "description": "d"}]}


class TestCommitBeforeAnswer:
    @pytest.fixture
    def failing_commit(self, api: LiveApi) -> Iterator[list[Exception]]:
        """Every commit raises what is put here."""
        failures: list[Exception] = []

        def fail(_: object) -> None:
            if failures:
                raise failures[0]

        event.listen(api.app.state.engine, "commit", fail)
        yield failures
        event.remove(api.app.state.engine, "commit", fail)

    def test_a_commit_that_raises_is_not_answered_201(
        self, client: httpx.Client, failing_commit: list[Exception]
    ) -> None:
        failing_commit.append(RuntimeError("commit failed"))
        answer = client.post("/v1/rubrics", json=BODY)
        failing_commit.clear()
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert client.get("/v1/rubrics").json()["data"] == []

    def test_a_connection_lost_at_commit_is_503(self, client: httpx.Client, failing_commit: list[Exception]) -> None:
        failing_commit.append(OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly")))
        answer = client.post("/v1/rubrics", json=BODY)
        failing_commit.clear()
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert answer.headers["Retry-After"]

    def test_what_was_answered_is_seen_by_the_next_request(self, api: LiveApi, client: httpx.Client) -> None:
        created = client.post("/v1/rubrics", json=BODY)
        other_connection = api.client(client.headers["Authorization"].removeprefix("Bearer "))
        assert other_connection.get(created.headers["Location"]).status_code == 200


class TestReadSessions:
    def test_the_database_refuses_their_writes(
        self, api: LiveApi, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def write(session: Any, *_: object, **__: object) -> None:
            session.execute(text("INSERT INTO projects (id, name) VALUES ('project_x', 'x')"))
            session.commit()

        monkeypatch.setattr("app.services.rubrics.page", write)
        assert client.get("/v1/rubrics").status_code == 500
        with api.app.state.sessions() as session:
            assert session.scalar(text("SELECT count(*) FROM projects WHERE id = 'project_x'")) == 0


def _kill_waiting(api: LiveApi) -> int:
    """Kill the backends that wait for a lock; how many there were."""
    query = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with api.app.state.sessions() as session:
        return session.scalar(text(query)) or 0


class TestDatabaseTrouble:
    def test_an_exhausted_pool_is_a_bounded_wait_and_503(self, database: str, tmp_path: Path) -> None:
        settings = Settings(**{**dict(api_settings(database, tmp_path)), "database_pool": 1, "database_wait_s": 0.2})
        with serve(settings) as api:
            client = api.client(api.project())
            with api.app.state.sessions() as session:
                session.execute(text("SELECT 1"))
                answer = client.get("/v1/rubrics")
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert client.get("/v1/rubrics").status_code == 200

    def test_connections_cut_between_requests_are_not_noticed(self, api: LiveApi, client: httpx.Client) -> None:
        assert client.get("/v1/rubrics").status_code == 200
        api.app.state.engine.dispose()
        with api.app.state.sessions.begin() as session:
            session.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                     "AND datname = current_database()")
            )  # fmt: skip
        assert client.get("/v1/rubrics").status_code == 200

    def test_a_backend_killed_within_a_request_is_503_and_stores_nothing(
        self, api: LiveApi, client: httpx.Client
    ) -> None:
        """The request waits for a lock that the test holds, and dies waiting."""
        rubric = client.post("/v1/rubrics", json=BODY).json()
        answers: list[httpx.Response] = []
        path = f"/v1/rubrics/{rubric['id']}/revisions"
        body = {"criteria": BODY["criteria"], "description": "new"}
        waiting = threading.Thread(target=lambda: answers.append(client.post(path, json=body)))
        with api.app.state.sessions.begin() as holder:
            holder.execute(text("SELECT 1 FROM rubrics WHERE id = :id FOR UPDATE"), {"id": rubric["id"]})
            waiting.start()
            while not _kill_waiting(api):
                waiting.join(0.01)
                assert waiting.is_alive(), "the request did not wait for the lock"
        waiting.join()
        assert (answers[0].status_code, answers[0].json()["code"]) == (503, "database_unavailable")
        assert len(client.get(path).json()["data"]) == 1

    def test_no_database_is_503_everywhere_but_healthz(self, tmp_path: Path) -> None:
        nowhere = f"postgresql+psycopg://nobody@/nothing?host={tmp_path}"
        with serve(api_settings(nowhere, tmp_path)) as api:
            client = api.client("rlaif_x")
            assert client.get("/healthz").status_code == 200
            for path in ("/readyz", "/v1/rubrics"):
                answer = client.get(path)
                assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert "rlaif_database_up 0.0" in client.get("/metrics").text
