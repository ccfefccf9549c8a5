"""Rubrics over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

CONTENT: dict[str, Any] = {"criteria": [{"name": "brief", "description": "At most forty words."}]}


def create(client: httpx.Client, name: str = "support", **content: Any) -> dict[str, Any]:
    answer = client.post("/v1/rubrics", json={"name": name, **(content or CONTENT)})
    assert answer.status_code == 201, answer.text
    rubric: dict[str, Any] = answer.json()
    assert answer.headers["Location"] == f"/v1/rubrics/{rubric['id']}"
    return rubric


class TestCreateRubric:
    def test_the_answer_is_what_get_answers(self, client: httpx.Client) -> None:
        rubric = create(client)
        assert client.get(f"/v1/rubrics/{rubric['id']}").json() == rubric
        assert rubric["revision"]["number"] == 1
        assert rubric["revision"]["content"]["criteria"][0]["weight"] == 1.0

    def test_a_taken_name_is_a_conflict(self, client: httpx.Client) -> None:
        create(client)
        answer = client.post("/v1/rubrics", json={"name": "support", **CONTENT})
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (409, "name_taken", "name")

    def test_a_pattern_that_could_not_run_is_refused_with_its_place(self, client: httpx.Client) -> None:
        check = {"kind": "pattern", "pattern": "(a+"}
        criteria = [*CONTENT["criteria"], {"name": "odd", "description": "Odd.", "check": check}]
        answer = client.post("/v1/rubrics", json={"name": "x", "criteria": criteria})
        assert (answer.status_code, answer.json()["field"]) == (422, "criteria[1].check.pattern")
        assert client.get("/v1/rubrics").json()["data"] == []

    def test_template_syntax_is_text(self, client: httpx.Client) -> None:
        description = "{{ 7 * 7 }} {% raw %} ${x} %s <script>"
        rubric = create(client, criteria=[{"name": "c", "description": description}])
        assert rubric["revision"]["content"]["criteria"][0]["description"] == description


class TestReviseRubric:
    def test_other_content_is_the_next_revision(self, client: httpx.Client) -> None:
        rubric = create(client)
        path = f"/v1/rubrics/{rubric['id']}/revisions"
        answer = client.post(path, json={**CONTENT, "description": "new"})
        assert (answer.status_code, answer.json()["number"]) == (201, 2)
        assert client.get(f"{path}/2").json() == answer.json()
        assert client.get(f"/v1/rubrics/{rubric['id']}").json()["revision"] == answer.json()
        assert [revision["number"] for revision in client.get(path).json()["data"]] == [2, 1]

    def test_equal_content_is_the_same_revision(self, client: httpx.Client) -> None:
        rubric = create(client)
        spelled_out = {**CONTENT, "description": "", "principles": []}
        answer = client.post(f"/v1/rubrics/{rubric['id']}/revisions", json=spelled_out)
        assert answer.json() == rubric["revision"]

    def test_an_unknown_number_is_not_found(self, client: httpx.Client) -> None:
        rubric = create(client)
        assert client.get(f"/v1/rubrics/{rubric['id']}/revisions/2").status_code == 404
