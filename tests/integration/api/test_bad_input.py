"""Bad input: every row gets a 4xx that names the field, and nothing is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.live_api import LiveApi

JSON = {"Content-Type": "application/json"}
BODY: dict[str, Any] = {"name": "r", "criteria": [{"name": "c", "description": "d", "weight": 1.0}]}


def with_field(old: str, new: str) -> bytes:
    raw = json.dumps(BODY)
    assert raw.count(old) == 1
    return raw.replace(old, new).encode()


UNREADABLE = {
    "nul": (with_field('"r"', '"r\\u0000"'), "name"),
    "nul in a key": (with_field('"name": "r"', '"na\\u0000me": "r"'), "body"),
    "lone surrogate": (with_field('"d"', '"\\ud800"'), "criteria[0].description"),
    "NaN": (with_field("1.0", "NaN"), "criteria[0].weight"),
    "Infinity": (with_field("1.0", "-Infinity"), "criteria[0].weight"),
    "1e400": (with_field("1.0", "1e400"), "criteria[0].weight"),
    "beyond int64": (with_field("1.0", "9223372036854775808"), "criteria[0].weight"),
    "five thousand digits": (with_field("1.0", "9" * 5000), "criteria[0].weight"),
    "duplicate key": (with_field('"name": "r"', '"name": "r", "name": "s"'), "name"),
    "duplicate key inside": (with_field('"weight": 1.0', '"weight": 1.0, "weight": 2.0'), "criteria[0].weight"),
    "broken": (b'{"name": ', "body"),
    "two documents": (json.dumps(BODY).encode() * 2, "body"),
    "not UTF-8": (b'{"name": "\xff"}', "body"),
    "UTF-16": (json.dumps(BODY).encode("utf-16"), "body"),
    "nested": (b"[" * 65 + b"]" * 65, "body"),
    "nested without end": (b'{"a":' * 50_000, "body"),
}

REFUSED = {
    "true for a number": (with_field("1.0", "true"), "criteria[0].weight"),
    "text for a number": (with_field("1.0", '"7"'), "criteria[0].weight"),
    "number for a text": (with_field('"r"', "7"), "name"),
    "unknown field": (with_field('"name": "r"', '"name": "r", "nmae": "s"'), "nmae"),
    "empty name": (with_field('"r"', '""'), "name"),
    "blank name": (with_field('"r"', '"   "'), "name"),
    "newline in a name": (with_field('"r"', '"a\\nb"'), "name"),
    "long name": (with_field('"r"', json.dumps("x" * 201)), "name"),
    "negative weight": (with_field("1.0", "-1.0"), "criteria[0].weight"),
    "absurd weight": (with_field("1.0", "1e9"), "criteria[0].weight"),
    "no criteria": (b'{"name": "r", "criteria": []}', "criteria"),
    "many criteria": (json.dumps({"name": "r", "criteria": BODY["criteria"] * 1000}).encode(), "criteria"),
    "a list": (b"[]", "body"),
    "null": (b"null", "body"),
    "nothing": (b"", "body"),
}


@pytest.fixture(autouse=True)
def _nothing_is_stored(client: httpx.Client) -> Iterator[None]:
    yield
    assert client.get("/v1/rubrics").json()["data"] == []


class TestJsonBodies:
    @pytest.mark.parametrize("case", UNREADABLE)
    def test_what_cannot_be_read(self, client: httpx.Client, case: str) -> None:
        body, field = UNREADABLE[case]
        answer = client.post("/v1/rubrics", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid_body", field)

    @pytest.mark.parametrize("case", REFUSED)
    def test_what_is_no_rubric(self, client: httpx.Client, case: str) -> None:
        body, field = REFUSED[case]
        answer = client.post("/v1/rubrics", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert field in [error["field"] for error in answer.json()["errors"]]

    def test_the_input_is_never_echoed(self, client: httpx.Client) -> None:
        answer = client.post("/v1/secrets", json={"name": "s", "host": "h", "value": {"canary": "sk-canary"}})
        assert answer.status_code == 422
        assert "canary" not in answer.text

    def test_a_byte_order_mark_is_tolerated(self, client: httpx.Client) -> None:
        answer = client.post(
            "/v1/judges", content=b'\xef\xbb\xbf{"name": "j", "spec": {"kind": "checks"}}', headers=JSON
        )
        assert answer.status_code == 201

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonl"])
    def test_another_content_type(self, client: httpx.Client, kind: str) -> None:
        answer = client.post("/v1/rubrics", content=json.dumps(BODY), headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["field"]) == (415, "Content-Type")

    def test_a_compressed_body(self, client: httpx.Client) -> None:
        answer = client.post("/v1/rubrics", content=b"x", headers={**JSON, "Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json()["field"]) == (415, "Content-Encoding")

    def test_a_declared_size_above_the_limit(self, api: LiveApi, client: httpx.Client) -> None:
        answer = client.post("/v1/rubrics", content=b" " * (api.settings.max_body_bytes + 1), headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")

    def test_an_undeclared_size_above_the_limit(self, api: LiveApi, client: httpx.Client) -> None:
        def stream() -> Iterator[bytes]:
            for _ in range(api.settings.max_body_bytes // 1024 + 1):
                yield b" " * 1024

        answer = client.post("/v1/rubrics", content=stream(), headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


class TestAddresses:
    @pytest.mark.parametrize("path", ["/v1/rubrics/a%00", "/v1/rubrics?after=%00", "/v1/rubrics?name=a%00b"])
    def test_nul(self, client: httpx.Client, path: str) -> None:
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_address")

    @pytest.mark.parametrize("limit", ["0", "-1", "201", "1e9", "x", "1.5", "", "99999999999999999999"])
    def test_limit(self, client: httpx.Client, limit: str) -> None:
        answer = client.get("/v1/rubrics", params={"limit": limit})
        assert (answer.status_code, answer.json()["field"]) == (422, "limit")

    @pytest.mark.parametrize("number", ["0", "-1", "2147483648", "x"])
    def test_revision_number(self, client: httpx.Client, number: str) -> None:
        answer = client.get(f"/v1/rubrics/rubric_01m7xk5mgzeyva4mageqj2tqtk/revisions/{number}")
        assert (answer.status_code, answer.json()["field"]) == (422, "number")

    @pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é"])
    def test_idempotency_key(self, client: httpx.Client, key: str) -> None:
        answer = client.post("/v1/rubrics", json=BODY, headers=[(b"Idempotency-Key", key.encode())])
        assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


class TestKnownShapes:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"name": "k", "scopes": []}, "scopes"),
            ({"name": "k", "scopes": ["root"]}, "scopes[0]"),
            ({"name": "k", "scopes": ["read"], "expires_at": "2030-01-01T00:00:00"}, "expires_at"),
            ({"name": "k", "scopes": ["read"], "expires_at": 1}, "expires_at"),
        ],
    )
    def test_keys(self, client: httpx.Client, body: dict[str, Any], field: str) -> None:
        answer = client.post("/v1/keys", json=body)
        assert (answer.status_code, answer.json()["field"]) == (422, field)
