"""Answer sets: streamed, whole or not at all, every bad line named; and the judges that replay them."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.live_api import LiveApi

JSONL = {"Content-Type": "application/jsonl"}
ROW: dict[str, Any] = {"prompt_id": "p1", "first": 0, "second": 1, "order": "AB", "answer": "A"}
HASH = "0" * 64


def upload(client: httpx.Client, content: bytes, *, name: str = "set", **headers: str) -> httpx.Response:
    return client.post("/v1/answer-sets", params={"name": name}, content=content, headers={**JSONL, **headers})


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def uploaded(client: httpx.Client, *rows: dict[str, Any], name: str = "set") -> dict[str, Any]:
    answer = upload(client, lines(*rows), name=name)
    assert answer.status_code == 201, answer.text
    answer_set: dict[str, Any] = answer.json()
    return answer_set


def refused(client: httpx.Client, content: bytes, *fields: str) -> list[dict[str, Any]]:
    answer = upload(client, content)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_answers"), answer.text
    errors: list[dict[str, Any]] = answer.json()["errors"]
    assert [error["field"] for error in errors] == list(fields)
    assert client.get("/v1/answer-sets").json()["data"] == []
    return errors


class TestUpload:
    def test_counts_and_digest(self, client: httpx.Client) -> None:
        rows = [ROW, ROW | {"order": "BA", "answer": "TIE"}, ROW | {"prompt_id": "p2", "answer": "B"}]
        first = uploaded(client, *rows)
        assert (first["answer_count"], first["by_answer"]) == (3, {"A": 1, "B": 1, "TIE": 1, "INVALID": 0})
        assert client.get(f"/v1/answer-sets/{first['id']}").json() == first
        assert client.get("/v1/answer-sets", params={"name": "set"}).json()["data"] == [first]
        assert uploaded(client, *rows, name="again")["digest"] == first["digest"]
        assert uploaded(client, *rows[:2], name="less")["digest"] != first["digest"]

    def test_gzip_is_the_same_set(self, client: httpx.Client) -> None:
        plain = uploaded(client, ROW)
        zipped = upload(client, gzip.compress(lines(ROW)), name="zipped", **{"Content-Encoding": "gzip"})
        assert zipped.json()["digest"] == plain["digest"]

    def test_an_exported_verdict_is_a_line(self, client: httpx.Client) -> None:
        verdict = {
            "id": "verdict_1",
            "run_id": "run_1",
            "purpose": "train",
            "judge_id": "judge_1",
            "comparison_id": "comparison_1",
            "order": "BA",
            "repeat": 0,
            "answer": "INVALID",
            "probability": None,
            "invalid_reason": "refusal",
            "raw_text": "No.",
            "prompt_hash": HASH,
            "prompt_tokens": 1,
            "completion_tokens": 1,
            "cost_usd": 0.1,
            "latency_s": 1.0,
            "attempts": 1,
            "scores": None,
            "created_at": "2025-01-01T00:00:00Z",
        }
        assert uploaded(client, verdict)["by_answer"]["INVALID"] == 1

    def test_a_replayed_upload_answers_the_first(self, client: httpx.Client) -> None:
        first, second = (upload(client, lines(ROW), **{"Idempotency-Key": "k"}) for _ in range(2))
        assert second.json() == first.json()

    def test_a_taken_name(self, client: httpx.Client) -> None:
        uploaded(client, ROW)
        answer = upload(client, lines(ROW))
        assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")


class TestRefusedUpload:
    @pytest.mark.parametrize(
        ("row", "field"),
        [
            ({"order": "AB", "answer": "A"}, "line 1"),
            (ROW | {"second": 0}, "line 1"),
            (ROW | {"second": None}, "line 1"),
            (ROW | {"first": "0"}, "line 1: first"),
            (ROW | {"first": True}, "line 1: first"),
            (ROW | {"first": -1}, "line 1: first"),
            (ROW | {"answer": "first"}, "line 1: answer"),
            (ROW | {"answer": "INVALID"}, "line 1"),
            (ROW | {"invalid_reason": "parse"}, "line 1"),
            (ROW | {"order": "ab"}, "line 1: order"),
            (ROW | {"probability": 1.5}, "line 1: probability"),
            (ROW | {"probabilty": 0.5}, "line 1: probabilty"),
            (ROW | {"prompt_hash": "abc"}, "line 1: prompt_hash"),
            (ROW | {"prompt_id": "\x00"}, "line 1: prompt_id"),
        ],
    )
    def test_names_line_and_field(self, client: httpx.Client, row: dict[str, Any], field: str) -> None:
        refused(client, lines(row), field)

    def test_one_bad_line_in_many(self, client: httpx.Client) -> None:
        good = [ROW | {"prompt_id": f"p{number}"} for number in range(5_000)]
        refused(client, lines(*good) + b'{"order": }\n', "line 5001")

    def test_only_the_first_hundred_are_named(self, client: httpx.Client) -> None:
        refused(client, b"x\n" * 1000, *(f"line {number}" for number in range(1, 101)))

    def test_two_answers_to_one_question(self, client: httpx.Client) -> None:
        """The second pair is the first one told from the other side: 1 against 0 in order BA shows 0 first."""
        (error,) = refused(client, lines(ROW, ROW | {"first": 1, "second": 0, "order": "BA", "answer": "B"}), "line 2")
        assert "line 1" in error["message"]

    def test_nothing_at_all(self, client: httpx.Client) -> None:
        assert upload(client, b"\n\n").json()["code"] == "empty_answer_set"

    def test_damaged_compression(self, client: httpx.Client) -> None:
        content = gzip.compress(lines(ROW) * 1000)[:-20]
        answer = upload(client, content, **{"Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json()["code"]) == (422, "upload_damaged")

    def test_another_content_type(self, client: httpx.Client) -> None:
        assert upload(client, lines(ROW), **{"Content-Type": "text/csv"}).status_code == 415


class TestReplayJudge:
    def test_names_its_answers(self, client: httpx.Client) -> None:
        answers = uploaded(client, ROW)
        spec = {"kind": "replay", "family": "gpt", "answers": answers["id"]}
        judge = client.post("/v1/judges", json={"name": "stored", "spec": spec})
        assert (judge.status_code, judge.json()["answer_set_id"]) == (201, answers["id"])

    @pytest.mark.parametrize("answers", ["answers_01m7xk5mgzeyva4mageqj2tqtk", "x"])
    def test_answers_that_are_not_there(self, client: httpx.Client, answers: str) -> None:
        judge = client.post(
            "/v1/judges", json={"name": "j", "spec": {"kind": "replay", "family": "gpt", "answers": answers}}
        )
        assert (judge.status_code, judge.json()["code"]) == (404, "not_found")

    def test_another_projects_answers_do_not_exist(self, api: LiveApi, client: httpx.Client) -> None:
        spec = {"kind": "replay", "family": "gpt", "answers": uploaded(client, ROW)["id"]}
        stranger = api.client(api.project())
        assert stranger.post("/v1/judges", json={"name": "j", "spec": spec}).status_code == 404
