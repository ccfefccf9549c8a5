"""Submitting a run while something dies: what a client was told holds, and asking again makes nothing twice."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import httpx
import pytest

from tests.process.service import Service
from tests.stack import wait_for

AT_ONCE = 50


@pytest.fixture(scope="session")
def candidates(running_service: Service) -> str:
    """The id of a prompt set with ready-made candidates: a run of it needs no model."""
    prompt = {"messages": [{"role": "user", "content": "What is salt?"}], "split": "train", "candidates": ["A.", "B."]}
    running_service.mend()
    return str(running_service.post("/v1/prompt-sets", {"name": "candidates", "prompts": [prompt]})["id"])


class TestIdempotency:
    def test_api_killed_between_commit_and_answer(self, service: Service, candidates: str) -> None:
        name = service.name("unanswered")
        keys = [f"{name}-{number}" for number in range(AT_ONCE)]
        body = _body(service, candidates, name)
        connections = [_send_without_reading(service, body, key) for key in keys]
        wait_for(lambda: _runs(service, name), what="the first commit")
        service.processes["api"].kill()
        for connection in connections:
            connection.close()
        committed = _runs(service, name)
        assert committed
        service.start("api")

        answers = [_create(service, body, key) for key in keys]
        assert {answer.status_code for answer in answers} == {201}
        replayed = {answer.json()["id"] for answer in answers if "Idempotent-Replayed" in answer.headers}
        assert committed <= replayed
        assert {answer.json()["id"] for answer in answers} == _runs(service, name)
        assert len(_runs(service, name)) == AT_ONCE

    def test_many_requests_with_one_key_make_one_run(self, service: Service, candidates: str) -> None:
        name = service.name("at-once")
        body, barrier = _body(service, candidates, name), Barrier(AT_ONCE)

        def create() -> httpx.Response:
            with httpx.Client(headers=service.client.headers, timeout=60) as client:
                barrier.wait()
                return client.post(f"{service.address}/v1/runs", content=body, headers=_headers(name))

        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = [future.result() for future in [pool.submit(create) for _ in range(AT_ONCE)]]
        (run_id,) = _runs(service, name)
        accepted = [answer for answer in answers if answer.status_code == 201]
        refused = [answer for answer in answers if answer.status_code != 201]
        assert {answer.json()["id"] for answer in accepted} == {run_id}
        assert sum("Idempotent-Replayed" not in answer.headers for answer in accepted) == 1
        assert all(answer.status_code in (409, 503) and "Retry-After" in answer.headers for answer in refused)
        assert _create(service, body, name).json()["id"] == run_id
        assert [row["type"] for row in service.events(run_id, "run.queued")] == ["run.queued"]
        service.finished(run_id)


class TestBroker:
    def test_run_submitted_while_redis_is_down_is_done_when_it_returns(self, service: Service, candidates: str) -> None:
        service.kill("redis")
        run_id = _accepted(service, candidates)
        service.start("redis")
        service.finished(run_id)

    def test_run_submitted_while_redis_hangs_is_done_when_it_goes_on(self, service: Service, candidates: str) -> None:
        service.suspend("redis")
        try:
            run_id = _accepted(service, candidates)
        finally:
            service.resume("redis")
        service.finished(run_id)


def _body(service: Service, prompt_set: str, name: str) -> bytes:
    recipe = {"stop_after": "sample", "sample": {"source": "prompt_set"}}
    base_model = service.parts_of_runs.base_model
    body: dict[str, Any] = {"name": name, "prompt_set": prompt_set, "base_model": base_model, "recipe": recipe}
    return json.dumps(body).encode()


def _headers(key: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "Idempotency-Key": key}


def _create(service: Service, body: bytes, key: str) -> httpx.Response:
    return service.client.post("/v1/runs", content=body, headers=_headers(key))


def _accepted(service: Service, prompt_set: str) -> str:
    """Submit a run and see that nothing rings for it."""
    name = service.name("unrung")
    answer = _create(service, _body(service, prompt_set, name), name)
    assert answer.status_code == 201, answer.text
    assert answer.elapsed.total_seconds() < 5
    assert service.run(answer.json()["id"])["status"] == "queued"
    return str(answer.json()["id"])


def _send_without_reading(service: Service, body: bytes, key: str) -> socket.socket:
    """A request whose answer nobody will ever see."""
    headers = {**_headers(key), "Authorization": service.client.headers["Authorization"]}
    lines = [f"{name}: {value}" for name, value in {**headers, "Content-Length": str(len(body)), "Host": "api"}.items()]
    connection = socket.create_connection(("127.0.0.1", service.options.port))
    connection.sendall("\r\n".join(["POST /v1/runs HTTP/1.1", *lines, "", ""]).encode() + body)
    return connection


def _runs(service: Service, name: str) -> set[str]:
    return {row.id for row in service.rows("SELECT id FROM runs WHERE name = :name", name=name)}
