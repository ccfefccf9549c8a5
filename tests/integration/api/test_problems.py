"""Every error is a problem document: stable code, the field, the request id, and nothing of the inside."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import text

from tests.live_api import LiveApi

CRITERIA = [{"name": "c", "description": "d"}]
PROBLEM_KEYS = {"type", "title", "status", "detail", "code", "field", "errors", "request_id"}


def check_problem(answer: httpx.Response, status: int, code: str, field: str | None = None) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem.keys() >= PROBLEM_KEYS
    assert (problem["status"], problem["code"], problem["field"]) == (status, code, field)
    assert problem["type"] == f"urn:rlaif:problem:{code}"
    assert problem["request_id"] == answer.headers["X-Request-Id"]


class TestProblems:
    def test_unknown_route(self, client: httpx.Client) -> None:
        check_problem(client.get("/v1/nothing"), 404, "route_not_found")

    def test_wrong_method_names_the_right_ones(self, client: httpx.Client) -> None:
        answer = client.put("/v1/rubrics", json={})
        check_problem(answer, 405, "method_not_allowed")
        assert answer.headers["Allow"] == "GET, POST"

    def test_no_key(self, api: LiveApi) -> None:
        answer = api.client(None).get("/v1/rubrics")
        check_problem(answer, 401, "invalid_api_key")
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_an_absent_object_and_an_impossible_id_look_alike(self, client: httpx.Client) -> None:
        for id_ in ("rubric_01m7xk5mgzeyva4mageqj2tqtk", "run_01m7xk5mgzeyva4mageqj2tqtk", "x", "..%2f..%2fetc"):
            assert client.get(f"/v1/rubrics/{id_}").json()["code"] in ("not_found", "route_not_found")

    def test_every_wrong_field_is_named(self, client: httpx.Client) -> None:
        answer = client.post("/v1/rubrics", json={"nam": "x", "criteria": [{"name": "c", "weight": -1}]})
        assert {error["field"] for error in answer.json()["errors"]} >= {
            "name", "nam", "criteria[0].description", "criteria[0].weight"
        }  # fmt: skip

    def test_a_clients_request_id_is_kept_when_it_is_one(self, client: httpx.Client) -> None:
        assert client.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["X-Request-Id"] == "abc-1"
        forged = client.get("/healthz", headers={"X-Request-Id": "abc\t{evil}"}).headers["X-Request-Id"]
        assert forged.isalnum()

    def test_an_unforeseen_error_tells_nothing(
        self, api: LiveApi, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("the secret of the house")

        monkeypatch.setattr("app.services.rubrics.page", fail)
        answer = client.get("/v1/rubrics")
        check_problem(answer, 500, "internal_error")
        assert "secret" not in answer.text

    def test_a_table_that_is_gone_tells_nothing(self, api: LiveApi, client: httpx.Client) -> None:
        with api.app.state.sessions.begin() as session:
            session.execute(text("ALTER TABLE secrets RENAME TO moved"))
        try:
            answer = client.get("/v1/secrets")
        finally:
            with api.app.state.sessions.begin() as session:
                session.execute(text("ALTER TABLE moved RENAME TO secrets"))
        check_problem(answer, 500, "internal_error")
        assert "secrets" not in answer.text


class TestLogs:
    def test_a_request_is_one_line_without_its_body_or_key(
        self, client: httpx.Client, project: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        client.post("/v1/rubrics?canary=canary-query", json={"name": "canary-body", "criteria": CRITERIA})
        client.post("/v1/secrets", json={"name": "s", "host": "h", "value": "canary-secret", "oops": 1})
        logged = capsys.readouterr().out
        assert '"route": "/v1/rubrics"' in logged
        assert '"request_id"' in logged
        assert "canary" not in logged
        assert project not in logged
