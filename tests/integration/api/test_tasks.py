"""Capability tasks: inline and streamed, rendered once in a sandbox, and what they refuse."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.integration.api.conftest import EXAMPLES

JSONL = {"Content-Type": "application/jsonl"}
CONFIG: dict[str, Any] = {
    "task": "weather",
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "choices",
    "doc_to_target": "{{answer}}",
}
DOCUMENT = {"question": "What falls from clouds?", "choices": ["rain", "stones"], "answer": 0}


def create(client: httpx.Client, *documents: dict[str, Any], **changes: Any) -> httpx.Response:
    body = {"config": {**CONFIG, **changes}, "documents": list(documents or (DOCUMENT,))}
    return client.post("/v1/tasks", json=body)


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def upload(client: httpx.Client, content: bytes, **headers: str) -> httpx.Response:
    return client.post("/v1/tasks:upload", params={"name": "up"}, content=content, headers={**JSONL, **headers})


class TestCreateTask:
    @pytest.mark.parametrize("name", ["facts", "definitions", "on-topic"])
    def test_the_examples_are_tasks(self, client: httpx.Client, name: str) -> None:
        body = json.loads((EXAMPLES / "tasks" / f"{name}.json").read_text())
        answer = client.post("/v1/tasks", json=body)
        assert answer.status_code == 201, answer.text
        task = answer.json()
        assert (task["name"], task["document_count"]) == (name, len(body["documents"]))
        rows = client.get(f"/v1/tasks/{task['id']}/documents?limit=100").json()["data"]
        assert [row["document"] for row in rows] == body["documents"]
        assert client.get(f"/v1/tasks/{task['id']}").json() == task
        assert client.get("/v1/tasks").json()["data"] == [task]

    def test_a_document_is_shown_as_it_is_asked(self, client: httpx.Client) -> None:
        task = create(client).json()
        (row,) = client.get(f"/v1/tasks/{task['id']}/documents").json()["data"]
        assert row["context"] == "Question: What falls from clouds?\nAnswer:"
        assert (row["choices"], row["gold"], row["targets"]) == (["rain", "stones"], [0], [])

    def test_a_taken_name_is_a_conflict(self, client: httpx.Client) -> None:
        assert create(client).status_code == 201
        answer = create(client)
        assert (answer.status_code, answer.json()["code"]) == (409, "name_taken")

    def test_a_key_repeats_the_first_answer(self, client: httpx.Client) -> None:
        body, headers = {"config": CONFIG, "documents": [DOCUMENT]}, {"Idempotency-Key": "k"}
        first, again = (client.post("/v1/tasks", json=body, headers=headers) for _ in range(2))
        assert first.json() == again.json()

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"dataset_path": "hellaswag"}, "send the documents with the task"),
            ({"process_docs": "!function utils.x"}, "is code, which never runs here"),
            ({"doc_to_txt": "x"}, "doc_to_txt is not of the part"),
        ],
    )
    def test_what_does_not_run_is_named(self, client: httpx.Client, changes: dict[str, Any], said: str) -> None:
        answer = create(client, **changes)
        assert answer.status_code == 422
        assert said in answer.text

    @pytest.mark.parametrize(
        ("template", "said"),
        [
            ("{{ ''.__class__.__mro__ }}", "unsafe"),
            ("{{ nothing }}", "undefined"),
            ("{{ 'a' * 4000000000 }}", "1024 MiB of memory"),
        ],
    )
    def test_a_template_that_makes_no_question(self, client: httpx.Client, template: str, said: str) -> None:
        answer = create(client, doc_to_text=template)
        assert (answer.status_code, answer.json()["code"]) == (422, "template_refused"), answer.text
        assert said in answer.text
        assert client.get("/v1/tasks").json()["data"] == []

    def test_the_document_that_makes_no_question_is_named(self, client: httpx.Client) -> None:
        answer = create(client, DOCUMENT, {**DOCUMENT, "answer": 2})
        assert answer.json()["errors"][0]["field"] == "config.doc_to_target"
        assert "documents[1]: doc_to_target: '2' is none of the 2 choices" in answer.json()["detail"]


class TestUpload:
    def test_a_file_is_the_same_task(self, client: httpx.Client) -> None:
        content = lines(CONFIG, DOCUMENT, {**DOCUMENT, "answer": 1})
        uploaded = upload(client, gzip.compress(content), **{"Content-Encoding": "gzip"})
        assert uploaded.status_code == 201, uploaded.text
        inline = create(client, DOCUMENT, {**DOCUMENT, "answer": 1}).json()
        assert uploaded.json()["digest"] == inline["digest"]
        exported = client.get(f"/v1/tasks/{uploaded.json()['id']}/documents?format=jsonl")
        assert [json.loads(line)["gold"] for line in exported.text.splitlines()] == [[0], [1]]

    @pytest.mark.parametrize(
        ("content", "code", "said"),
        [
            (b"", "empty_task", "needs its config in the first line"),
            (lines(CONFIG), "empty_task", "from 1 to 20000 documents"),
            (lines(CONFIG, DOCUMENT, {}), "invalid_task", "line 3"),
            (lines(CONFIG) + b"[1]\n{", "invalid_task", "line 2"),
            (lines({**CONFIG, "use_prompt": "x"}, DOCUMENT), "invalid_task", "line 1: "),
            (lines(CONFIG, {"question": "x"}), "template_refused", "line 2: doc_to_choice"),
        ],
    )
    def test_a_bad_file_leaves_nothing(self, client: httpx.Client, content: bytes, code: str, said: str) -> None:
        answer = upload(client, content)
        assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
        assert said in answer.text
        assert client.get("/v1/tasks").json()["data"] == []
