"""Rubrics over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

CONTENT: dict[str, Any] = {"criteria": [{"name": "brief", "description": "At most forty words."}]}
GOLDEN: dict[str, Any] = {"name": "g", "prompt": "Why?", "first": "So.", "second": "No.", "expected": "A"}


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


class TestLint:
    def test_findings_of_content_that_is_not_stored(self, client: httpx.Client) -> None:
        criteria = [{"name": "tone", "description": "Uses an appropriate tone."}, CONTENT["criteria"][0]]
        answer = client.post("/v1/rubrics:lint", json={"criteria": criteria})
        assert answer.status_code == 200, answer.text
        [finding] = answer.json()["findings"]
        assert (finding["criterion"], finding["kind"], finding["words"]) == ("tone", "vague", ["appropriate"])
        assert client.get("/v1/rubrics").json()["data"] == []

    def test_content_that_could_not_be_stored_is_refused(self, client: httpx.Client) -> None:
        criteria = [{"name": "odd", "description": "Odd.", "check": {"kind": "pattern", "pattern": "(a+"}}]
        answer = client.post("/v1/rubrics:lint", json={"criteria": criteria})
        assert (answer.status_code, answer.json()["field"]) == (422, "criteria[0].check.pattern")

    def test_findings_of_a_stored_revision(self, client: httpx.Client) -> None:
        criteria = [{"name": "a", "description": "Is brief."}, {"name": "b", "description": "Is exhaustive."}]
        rubric = create(client, criteria=criteria)
        path = f"/v1/rubrics/{rubric['id']}/revisions"
        [finding] = client.get(f"{path}/1/lint").json()["findings"]
        assert (finding["kind"], finding["criterion"], finding["other"]) == ("contradictory", "b", "a")
        assert client.get(f"{path}/2/lint").status_code == 404


class TestDiff:
    def test_what_changed_and_in_which_direction(self, client: httpx.Client) -> None:
        rubric = create(client)
        path = f"/v1/rubrics/{rubric['id']}/revisions"
        changed = {"name": "brief", "description": "At most fifty words.", "weight": 2.0}
        assert client.post(path, json={"criteria": [changed]}).json()["number"] == 2
        answer = client.get(f"{path}/2/diff", params={"against": 1}).json()
        assert (answer["before"]["number"], answer["after"]["number"]) == (1, 2)
        [change] = answer["changes"]
        fields = {field["field"]: field for field in change["fields"]}
        assert (fields["weight"]["before"], fields["weight"]["after"]) == (1.0, 2.0)
        assert [(word["edit"], word["text"]) for word in fields["description"]["words"]] == [
            ("same", "At most "),
            ("removed", "forty "),
            ("added", "fifty "),
            ("same", "words."),
        ]
        assert client.get(f"{path}/2/diff", params={"against": 2}).json()["changes"] == []

    def test_both_revisions_must_exist(self, client: httpx.Client) -> None:
        path = f"/v1/rubrics/{create(client)['id']}/revisions"
        assert client.get(f"{path}/1/diff", params={"against": 2}).status_code == 404
        assert client.get(f"{path}/2/diff", params={"against": 1}).status_code == 404

    def test_without_another_it_is_the_one_before(self, client: httpx.Client) -> None:
        path = f"/v1/rubrics/{create(client)['id']}/revisions"
        client.post(path, json={**CONTENT, "description": "new"})
        assert client.get(f"{path}/2/diff").json() == client.get(f"{path}/2/diff", params={"against": 1}).json()
        first = client.get(f"{path}/1/diff")
        assert (first.status_code, first.json()["code"]) == (422, "nothing_before")


class TestGoldenExamples:
    def test_they_are_part_of_the_content(self, client: httpx.Client) -> None:
        rubric = create(client, **CONTENT, golden_examples=[GOLDEN])
        assert rubric["revision"]["content"]["golden_examples"] == [GOLDEN]
        answer = client.post(f"/v1/rubrics/{rubric['id']}/revisions", json=CONTENT)
        assert answer.json()["number"] == 2
        assert "golden_examples" not in answer.json()["content"]

    def test_a_bad_one_is_named(self, client: httpx.Client) -> None:
        golden = [{**GOLDEN, "second": "So."}]
        answer = client.post("/v1/rubrics", json={"name": "x", **CONTENT, "golden_examples": golden})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "golden_examples[0]"
