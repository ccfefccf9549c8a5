"""The OpenAPI document: stored, so that a change is seen; complete, so that nobody has to read the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.api.docs import page
from tests.contracts.openapi import RENEW, STORED, current

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
KEYLESS = {"/healthz", "/readyz", "/metrics"}
Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def spec(unconnected: FastAPI) -> dict[str, Any]:
    return unconnected.openapi()


@pytest.fixture(scope="module")
def operations(spec: dict[str, Any]) -> list[Operation]:
    return [(method, path, operation) for path, item in spec["paths"].items() for method, operation in item.items()]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].removeprefix("#/components/schemas/")
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from references(item)


class TestSnapshot:
    def test_the_stored_document_is_the_codes(self) -> None:
        assert STORED.read_text() == current(), f"the API changed: run `{RENEW}` and commit what you meant to change"


class TestOperations:
    def test_each_says_what_it_does(self, operations: list[Operation]) -> None:
        silent = [path for _, path, operation in operations if not operation.get("summary")]
        silent += [path for _, path, operation in operations if len(operation.get("description", "")) < 10]
        assert silent == []

    def test_ids_are_chosen_and_unique(self, operations: list[Operation]) -> None:
        ids = [operation["operationId"] for _, _, operation in operations]
        assert len(set(ids)) == len(ids)
        assert [id_ for id_ in ids if not re.fullmatch(r"[a-z]+(_[a-z]+)*", id_)] == []

    def test_each_belongs_to_a_group(self, operations: list[Operation]) -> None:
        assert [path for _, path, operation in operations if not operation.get("tags")] == []

    def test_every_key_is_asked_for(self, operations: list[Operation]) -> None:
        assert {path for _, path, operation in operations if "security" not in operation} == KEYLESS

    def test_each_names_its_problems(self, operations: list[Operation]) -> None:
        for method, path, operation in operations:
            responses = operation["responses"]
            expected = {"500", "503"} | (set() if path in KEYLESS else {"400", "401", "403"})
            expected |= {"404"} if "{" in path else set()
            expected |= {"409"} if method == "post" else set()
            expected |= {"413", "415", "422"} if "requestBody" in operation else set()
            assert expected <= responses.keys(), path
            for status in expected:
                assert responses[status]["content"] == PROBLEM, (path, status)

    def test_every_parameter_is_described(self, operations: list[Operation]) -> None:
        silent = [
            (path, parameter["name"])
            for _, path, operation in operations
            for parameter in operation.get("parameters", [])
            if not parameter.get("description")
        ]
        assert silent == []

    def test_every_creating_post_takes_an_idempotency_key(self, operations: list[Operation]) -> None:
        for method, path, operation in operations:
            if method == "post" and "201" in operation["responses"]:
                assert "Idempotency-Key" in [parameter["name"] for parameter in operation["parameters"]], path

    def test_every_body_has_an_example(self, spec: dict[str, Any], operations: list[Operation]) -> None:
        for _, path, operation in operations:
            for kind, media in operation.get("requestBody", {}).get("content", {}).items():
                if media["schema"].get("format") == "binary":
                    continue
                named = [spec["components"]["schemas"][name] for name in references(media["schema"])]
                assert (
                    "example" in media
                    or media["schema"].get("examples")
                    or any(schema.get("examples") for schema in named)
                ), (path, kind)


class TestPage:
    def test_shows_every_operation_and_schema(self, spec: dict[str, Any], operations: list[Operation]) -> None:
        shown = page(spec)
        ids = re.findall(r'<details id="(\w+)">', shown)
        assert sorted(ids) == sorted(operation["operationId"] for _, _, operation in operations)
        assert set(re.findall(r'<h3 id="schema-(\w+)">', shown)) == set(spec["components"]["schemas"])
        assert set(re.findall(r'href="#schema-(\w+)"', shown)) <= set(spec["components"]["schemas"])

    def test_loads_nothing(self, spec: dict[str, Any]) -> None:
        """An offline host shows it whole."""
        assert re.findall(r"(?:src|href)=\"(?!#|/openapi.json\")|<script|@import|url\(", page(spec)) == []

    def test_is_served_without_a_key(self, unconnected: FastAPI) -> None:
        answer = TestClient(unconnected).get("/docs")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.text == page(unconnected.openapi())


class TestSchemas:
    def test_every_schema_is_described_and_referred_to(self, spec: dict[str, Any]) -> None:
        schemas = spec["components"]["schemas"]
        assert sorted(set(schemas) - set(references(spec))) == []
        objects = {name: schema for name, schema in schemas.items() if schema.get("type") == "object"}
        assert [name for name, schema in objects.items() if not schema.get("description")] == []

    def test_inputs_forbid_what_they_do_not_know(self, spec: dict[str, Any], operations: list[Operation]) -> None:
        """Followed through every schema that a request body reaches."""
        schemas, reached = spec["components"]["schemas"], set[str]()
        waiting = [name for _, _, operation in operations for name in references(operation.get("requestBody", {}))]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += references(schemas[name])
        objects = [name for name in reached if schemas[name].get("type") == "object"]
        assert len(objects) > 10
        assert [name for name in objects if schemas[name].get("additionalProperties") is not False] == []

    def test_outputs_have_no_defaults(self, spec: dict[str, Any]) -> None:
        """Every field of an answer is always there."""
        for name, schema in spec["components"]["schemas"].items():
            if name.endswith("Out"):
                assert set(schema["required"]) == set(schema["properties"]), name
