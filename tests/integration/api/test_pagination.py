"""Keyset pages: complete, without repeats, and only with cursors that this list gave to this project."""

from __future__ import annotations

import base64

import httpx
import pytest

from app.api.pagination import InvalidCursor, seal, unseal
from tests.live_api import LiveApi


def fill(client: httpx.Client, count: int) -> list[str]:
    body = {"criteria": [{"name": "c", "description": "d"}]}
    return [client.post("/v1/rubrics", json={"name": f"r{number}", **body}).json()["id"] for number in range(count)]


class TestPages:
    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
    def test_every_object_once_newest_first(self, client: httpx.Client, limit: int) -> None:
        ids = fill(client, 5)
        seen, after = [], None
        while True:
            page = client.get("/v1/rubrics", params={"limit": limit} | ({"after": after} if after else {})).json()
            assert 0 < len(page["data"]) <= limit
            assert page["has_more"] == (page["after"] is not None)
            seen += [item["id"] for item in page["data"]]
            after = page["after"]
            if not page["has_more"]:
                break
        assert seen == ids[::-1]

    def test_an_empty_list(self, client: httpx.Client) -> None:
        assert client.get("/v1/rubrics").json() == {"data": [], "has_more": False, "after": None}

    def test_a_name_finds_one(self, client: httpx.Client) -> None:
        ids = fill(client, 2)
        assert [item["id"] for item in client.get("/v1/rubrics?name=r1").json()["data"]] == [ids[1]]
        assert client.get("/v1/rubrics?name=r").json()["data"] == []


class TestCursors:
    def refused(self, client: httpx.Client, path: str, after: str) -> None:
        answer = client.get(path, params={"after": after})
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid_cursor", "after")

    def test_forged_cut_and_changed(self, client: httpx.Client) -> None:
        ids = fill(client, 2)
        cursor = client.get("/v1/rubrics?limit=1").json()["after"]
        plain = base64.urlsafe_b64encode(ids[0].encode()).decode()
        for forged in ("x", plain, cursor[:-1], cursor[1:], cursor.swapcase(), cursor + "AAAA", "%%%", "é"):
            self.refused(client, "/v1/rubrics", forged)

    def test_from_another_project(self, api: LiveApi, client: httpx.Client) -> None:
        fill(client, 2)
        cursor = client.get("/v1/rubrics?limit=1").json()["after"]
        self.refused(api.client(api.project()), "/v1/rubrics", cursor)

    def test_from_another_list(self, client: httpx.Client) -> None:
        fill(client, 2)
        self.refused(client, "/v1/judges", client.get("/v1/rubrics?limit=1").json()["after"])

    def test_a_seal_opens_only_where_it_was_made(self) -> None:
        assert unseal(seal("rubric_1", "p /v1/rubrics"), "p /v1/rubrics") == "rubric_1"
        with pytest.raises(InvalidCursor):
            unseal(seal("rubric_1", "p /v1/rubrics"), "q /v1/rubrics")
