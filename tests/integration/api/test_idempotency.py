"""`Idempotency-Key`: one key, one object, whatever happens between the client and the answer (F12, F13)."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import func, select, text

from app.db.models import IdempotencyKey, Rubric
from tests.live_api import LiveApi

CLIENTS = 50
BODY: dict[str, Any] = {"name": "r", "criteria": [{"name": "c", "description": "d"}]}


def post(
    client: httpx.Client, body: dict[str, Any] = BODY, *, key: str = "k", path: str = "/v1/rubrics"
) -> httpx.Response:
    return client.post(path, json=body, headers={"Idempotency-Key": key})


class TestReplay:
    def test_a_replayed_key_answers_the_first_answer(self, client: httpx.Client) -> None:
        first, second = post(client), post(client)
        assert (second.status_code, second.content) == (first.status_code, first.content)
        assert second.headers["Location"] == first.headers["Location"]
        assert "Idempotent-Replayed" not in first.headers
        assert second.headers["Idempotent-Replayed"] == "true"

    def test_another_body_is_refused(self, client: httpx.Client) -> None:
        post(client)
        answer = post(client, {**BODY, "name": "s"})
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")

    def test_another_operation_is_refused(self, client: httpx.Client) -> None:
        rubric = post(client).json()
        answer = post(client, {"criteria": BODY["criteria"]}, path=f"/v1/rubrics/{rubric['id']}/revisions")
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")

    def test_keys_belong_to_projects(self, api: LiveApi, client: httpx.Client) -> None:
        other = api.client(api.project())
        assert post(client).json()["id"] != post(other).json()["id"]

    def test_a_refused_request_leaves_the_key_free(self, client: httpx.Client) -> None:
        assert post(client, {"name": "r"}).status_code == 422
        assert post(client).status_code == 201

    def test_a_new_keys_plaintext_is_stored_nowhere(self, api: LiveApi, client: httpx.Client) -> None:
        body = {"name": "ci", "scopes": ["read"]}
        first, second = (post(client, body, path="/v1/keys").json() for _ in range(2))
        assert second == {**first, "key": None}
        with api.app.state.sessions() as session:
            stored = session.scalars(select(IdempotencyKey.body)).all()
        assert not any(first["key"] in body for body in stored)


class TestLostAnswer:
    def test_a_client_that_never_saw_its_answer_gets_it_by_asking_again(
        self, api: LiveApi, client: httpx.Client
    ) -> None:
        """F12: the transaction commits, the connection is gone before the answer is read."""
        body, address = json.dumps(BODY, separators=(",", ":")), urlsplit(api.url)  # as httpx writes it
        head = (
            f"POST /v1/rubrics HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\n"
            f"Authorization: {client.headers['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
            connection.sendall((head + body).encode())
            while not (made := client.get("/v1/rubrics").json()["data"]):
                pass
        answer = post(client)
        assert (answer.status_code, answer.json()["id"]) == (201, made[0]["id"])
        assert answer.headers["Idempotent-Replayed"] == "true"


class TestConcurrency:
    def test_fifty_posts_with_one_key_make_one_object(self, api: LiveApi, project: str) -> None:
        clients = [api.client(project) for _ in range(CLIENTS)]
        barrier = threading.Barrier(CLIENTS)

        def submit(client: httpx.Client) -> httpx.Response:
            client.get("/healthz")  # connected, so that all arrive together
            barrier.wait()
            while (answer := post(client)).json().get("code") in ("idempotency_key_in_flight", "database_unavailable"):
                assert answer.headers["Retry-After"]
            return answer

        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = list(pool.map(submit, clients))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.content for answer in answers}) == 1
        assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1
        assert len(clients[0].get("/v1/rubrics").json()["data"]) == 1

    def test_a_key_in_flight_is_a_conflict_at_once(self, api: LiveApi, client: httpx.Client) -> None:
        """Another transaction holds the key's lock for as long as its work lasts."""
        lock = "SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"
        with api.app.state.sessions.begin() as session:
            project_id = session.scalar(text("SELECT project_id FROM api_keys ORDER BY id DESC LIMIT 1"))
            session.execute(text(lock), {"key": f"{project_id} k"})
            answer = post(client)
        assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_key_in_flight")
        assert answer.headers["Retry-After"] == "1"
        assert post(client).status_code == 201

    def test_without_a_key_a_second_name_conflicts_and_one_object_is_made(self, api: LiveApi, project: str) -> None:
        clients = [api.client(project) for _ in range(8)]
        barrier = threading.Barrier(len(clients))

        def submit(client: httpx.Client) -> int:
            client.get("/healthz")
            barrier.wait()
            return client.post("/v1/rubrics", json={**BODY, "name": "raced"}).status_code

        with ThreadPoolExecutor(len(clients)) as pool:
            statuses = sorted(pool.map(submit, clients))
        assert statuses == [201, *[409] * (len(clients) - 1)]

    def test_concurrent_revisions_are_numbered_without_gaps(self, api: LiveApi, project: str) -> None:
        rubric = post(api.client(project)).json()
        clients = [api.client(project) for _ in range(8)]

        def revise(item: tuple[int, httpx.Client]) -> int:
            body = {**BODY, "description": f"revision {item[0]}"}
            del body["name"]
            number: int = item[1].post(f"/v1/rubrics/{rubric['id']}/revisions", json=body).json()["number"]
            return number

        with ThreadPoolExecutor(len(clients)) as pool:
            assert sorted(pool.map(revise, enumerate(clients))) == list(range(2, 10))
        with api.app.state.sessions() as session:
            assert session.scalar(select(func.count()).where(Rubric.id == rubric["id"])) == 1
