"""Prompt sets: inline and streamed, whole or not at all, every bad line named."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.api.conftest import EXAMPLES
from tests.live_api import LiveApi

JSONL = {"Content-Type": "application/jsonl"}
GZIP = {**JSONL, "Content-Encoding": "gzip"}


def upload(client: httpx.Client, content: Any, *, name: str = "set", **options: Any) -> httpx.Response:
    params = {"name": name, **options.pop("params", {})}
    return client.post("/v1/prompt-sets:upload", params=params, content=content, headers=options.pop("headers", JSONL))


def uploaded(client: httpx.Client, content: bytes, *, name: str = "set") -> dict[str, Any]:
    answer = upload(client, content, name=name)
    assert answer.status_code == 201, answer.text
    prompt_set: dict[str, Any] = answer.json()
    return prompt_set


def prompts(client: httpx.Client, prompt_set: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = client.get(f"/v1/prompt-sets/{prompt_set['id']}/prompts").json()["data"]
    return rows


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def refused(client: httpx.Client, content: bytes, *fields: str) -> list[dict[str, Any]]:
    answer = upload(client, content)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_prompts"), answer.text
    errors: list[dict[str, Any]] = answer.json()["errors"]
    assert [error["field"] for error in errors] == list(fields)
    assert client.get("/v1/prompt-sets").json()["data"] == []
    return errors


class TestUpload:
    def test_the_example_set_comes_back_as_it_went_in(self, client: httpx.Client) -> None:
        content = (EXAMPLES / "prompts.jsonl").read_bytes()
        first = uploaded(client, content)
        rows = [json.loads(line) for line in content.splitlines()]
        assert first["train_count"] + first["held_out_count"] == len(rows) == sum(first["cohorts"].values())
        download = client.get(f"/v1/prompt-sets/{first['id']}/prompts?format=jsonl")
        assert download.headers["content-type"].startswith("application/jsonl")
        returned = [json.loads(line) for line in download.content.splitlines()]
        for row, back in zip(rows, returned, strict=True):
            assert {key: back[key] for key in ("id", "messages", "cohort", "split")} == {
                key: row[key] for key in ("id", "messages", "cohort", "split")
            }
        assert uploaded(client, download.content, name="again")["digest"] == first["digest"]

    def test_gzip_is_the_same_set(self, client: httpx.Client) -> None:
        content = lines({"prompt": "a"}, {"prompt": "b"})
        plain = uploaded(client, content)
        answer = upload(client, gzip.compress(content), name="zipped", headers=GZIP)
        assert answer.json()["digest"] == plain["digest"]

    def test_bom_crlf_blank_lines_and_no_last_newline(self, client: httpx.Client) -> None:
        prompt_set = uploaded(client, b'\xef\xbb\xbf{"prompt": "a"}\r\n\r\n  \n{"prompt": "b"}')
        assert [row["messages"][0]["content"] for row in prompts(client, prompt_set)] == ["a", "b"]

    def test_a_chunk_may_end_inside_a_character(self, client: httpx.Client) -> None:
        content = json.dumps({"prompt": "Käse \U0001f9c0"}, ensure_ascii=False).encode()

        def stream() -> Iterator[bytes]:
            for position in range(len(content)):
                yield content[position : position + 1]

        answer = upload(client, stream())
        assert prompts(client, answer.json())[0]["messages"][0]["content"] == "Käse \U0001f9c0"

    def test_trl_rows(self, client: httpx.Client) -> None:
        user, good, bad = ({"role": role, "content": text} for role, text in
                           (("user", "q"), ("assistant", "yes"), ("assistant", "no")))  # fmt: skip
        prompt_set = uploaded(
            client,
            lines(
                {"prompt": "p", "chosen": "yes", "rejected": "no"},
                {"prompt": [user], "chosen": [good], "rejected": [bad]},
                {"chosen": [{**user, "content": "r"}, good], "rejected": [{**user, "content": "r"}, bad]},
            ),
        )
        for row, asked in zip(prompts(client, prompt_set), ("p", "q", "r"), strict=True):
            assert row["messages"] == [{"role": "user", "content": asked}]
            assert row["candidates"] == ["yes", "no"]
            assert row["preferences"] == [{"first": 0, "second": 1, "probability": 1.0}]

    def test_trajectories_stand_beside_texts_and_come_back(self, client: httpx.Client) -> None:
        call = {"role": "assistant", "tool_calls": [{"function": {"name": "book", "arguments": {"seat": 4}}}]}
        turns = [call, {"role": "tool", "content": "Booked."}, {"role": "assistant", "content": "Yours."}]
        single = [{"role": "assistant", "content": "No."}]
        prompt_set = uploaded(client, lines({"prompt": "a", "candidates": [turns, "Perhaps.", single]}))
        (row,) = prompts(client, prompt_set)
        brought, text, spoken = row["candidates"]
        assert [turn["role"] for turn in brought] == ["assistant", "tool", "assistant"]
        assert brought[0]["tool_calls"][0]["function"]["arguments"] == {"seat": 4}
        assert (text, spoken) == ("Perhaps.", "No.")
        download = client.get(f"/v1/prompt-sets/{prompt_set['id']}/prompts?format=jsonl").content
        assert uploaded(client, download, name="again")["digest"] == prompt_set["digest"]

    def test_known_outcomes_come_back_and_leave_the_digest_of_sets_without_them(self, client: httpx.Client) -> None:
        row = {"prompt": "a", "candidates": ["x", "y"], "split": "train"}
        without = uploaded(client, lines(row))
        known = uploaded(client, lines(row | {"outcomes": [True, None]}), name="known")
        assert [each["outcomes"] for each in prompts(client, known)] == [[True, None]]
        assert without["digest"] == uploaded(client, lines(row | {"outcomes": []}), name="empty")["digest"]
        canonical = (
            b'{"candidates": ["x", "y"], "cohort": "general", "criteria": [], "messages": [{"content": "a", '
            b'"role": "user"}], "preferences": [], "split": "train"}\n'
        )
        assert without["digest"] == hashlib.sha256(canonical).hexdigest() != known["digest"]

    def test_a_trajectory_that_is_no_response_is_named(self, client: httpx.Client) -> None:
        turns = [{"role": "user", "content": "I answer."}]
        refused(client, lines({"prompt": "a", "candidates": ["b", turns]}), "line 1: candidates[1]")

    def test_a_split_follows_the_content_and_its_share(self, client: httpx.Client) -> None:
        content = lines(*({"prompt": f"question {number}"} for number in range(400)))
        first = upload(client, content, params={"held_out": 0.25}).json()
        assert 60 < first["held_out_count"] < 140
        again = upload(client, content, name="again", params={"held_out": 0.25}).json()
        assert again["digest"] == first["digest"]
        assert upload(client, content, name="none", params={"held_out": 0}).json()["held_out_count"] == 0

    def test_equal_prompts_are_never_on_both_sides(self, client: httpx.Client) -> None:
        prompt_set = uploaded(client, lines(*({"prompt": f"q{number % 50}"} for number in range(200))))
        sides: dict[str, set[str]] = {}
        answer = client.get(f"/v1/prompt-sets/{prompt_set['id']}/prompts?format=jsonl")
        for row in map(json.loads, answer.content.splitlines()):
            sides.setdefault(row["messages"][0]["content"], set()).add(row["split"])
        assert {len(splits) for splits in sides.values()} == {1}

    def test_a_replayed_upload_answers_the_first(self, client: httpx.Client) -> None:
        headers = {**JSONL, "Idempotency-Key": "k"}
        first, second = (upload(client, lines({"prompt": "a"}), headers=headers) for _ in range(2))
        assert second.json() == first.json()
        other = upload(client, lines({"prompt": "b"}), headers=headers)
        assert other.json()["code"] == "idempotency_key_reused"


class TestRefusedUpload:
    def test_one_bad_line_in_many(self, client: httpx.Client) -> None:
        rows = [{"prompt": f"q{number}"} for number in range(20_000)]
        content = lines(*rows[:15_000]) + b'{"prompt": }\n' + lines(*rows[15_000:])
        refused(client, content, "line 15001")

    def test_only_the_first_hundred_are_named(self, client: httpx.Client) -> None:
        refused(client, b"x\n" * 1000, *(f"line {number}" for number in range(1, 101)))

    @pytest.mark.parametrize(
        ("line", "field"),
        [
            (b'{"prompt": "a", "prompt": "b"}', "line 1: prompt"),
            (b'{"prompt": "\\u0000"}', "line 1: prompt"),
            (b'{"prompt": "\\udfff"}', "line 1: prompt"),
            (b'{"prompt": ""}', "line 1"),
            (b'{"prompt": "   "}', "line 1"),
            (b'{"prompt": 7}', "line 1"),
            (b'{"promt": "a"}', "line 1: messages"),
            (b'{"messages": []}', "line 1: messages"),
            (b'{"messages": [{"role": "king", "content": "a"}]}', "line 1: messages[0].role"),
            (b'{"messages": [{"role": "assistant", "content": "a"}]}', "line 1"),
            (b'{"prompt": "a", "split": "test"}', "line 1: split"),
            (b'{"prompt": "a", "chosen": "x"}', "line 1"),
            (b'{"prompt": "a", "chosen": "", "rejected": "x"}', "line 1"),
            (b'{"prompt": "a", "candidates": ["x"], "preferences": [{"first": 0, "second": 1}]}', "line 1"),
            (b'{"prompt": "a", "criteria": [{"name": "c", "description": "d", "weight": NaN}]}',
             "line 1: criteria[0].weight"),
            (b'{"prompt": "a", "criteria": [{"name": "c", "description": "d", "check": '
             b'{"kind": "pattern", "pattern": "("}}]}', "line 1"),
            (b'[]', "line 1"),
            (b'"a"', "line 1"),
            (b'\xff', "line 1"),
        ],
    )  # fmt: skip
    def test_a_bad_line(self, client: httpx.Client, line: bytes, field: str) -> None:
        refused(client, line, field)

    def test_a_line_above_the_limit_is_named_and_never_held(self, api: LiveApi, client: httpx.Client) -> None:
        long = b'{"prompt": "' + b"x" * api.settings.max_line_bytes * 10 + b'"}\n'
        errors = refused(client, lines({"prompt": "a"}) + long + lines({"prompt": "b"}), "line 2")
        assert "longer than" in errors[0]["message"]

    def test_duplicate_ids(self, client: httpx.Client) -> None:
        content = lines(
            {"prompt": "a", "id": "x"}, {"prompt": "b"}, {"prompt": "c", "id": "x"}, {"prompt": "d", "id": "1"}
        )
        refused(client, content, "line 3: id", "line 4: id")

    def test_a_prompt_trained_on_and_held_out(self, client: httpx.Client) -> None:
        refused(client, lines({"prompt": "a", "split": "train"}, {"prompt": "a", "split": "held_out"}), "line 2: split")

    @pytest.mark.parametrize("content", [b"", b"\n\r\n  \n", b"\xef\xbb\xbf"])
    def test_no_prompts(self, client: httpx.Client, content: bytes) -> None:
        answer = upload(client, content)
        assert (answer.status_code, answer.json()["code"]) == (422, "empty_prompt_set")

    def test_a_gzip_bomb(self, api: LiveApi, client: httpx.Client) -> None:
        bomb = gzip.compress(b" " * (api.settings.max_upload_bytes + 2**20))
        assert len(bomb) < 64 * 1024
        answer = upload(client, bomb, headers=GZIP)
        assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")

    @pytest.mark.parametrize("content", [b"plain", gzip.compress(b'{"prompt": "a"}\n' * 1000, mtime=0)[:-20]])
    def test_damaged_gzip(self, client: httpx.Client, content: bytes) -> None:
        answer = upload(client, content, headers=GZIP)
        assert (answer.status_code, answer.json()["code"]) == (422, "upload_damaged")
        assert client.get("/v1/prompt-sets").json()["data"] == []

    def test_above_the_limit_plain(self, api: LiveApi, client: httpx.Client) -> None:
        answer = upload(client, (b"\n" * 2**20 for _ in range(api.settings.max_upload_bytes // 2**20 + 1)))
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")

    @pytest.mark.parametrize(
        ("headers", "field"),
        [({"Content-Type": "text/csv"}, "Content-Type"), ({**JSONL, "Content-Encoding": "br"}, "Content-Encoding")],
    )
    def test_another_type(self, client: httpx.Client, headers: dict[str, str], field: str) -> None:
        answer = upload(client, b"x", headers=headers)
        assert (answer.status_code, answer.json()["field"]) == (415, field)

    @pytest.mark.parametrize("name", ["", "a\nb", "x" * 201])
    def test_a_bad_name_is_refused_before_the_body(self, client: httpx.Client, name: str) -> None:
        answer = upload(client, lines({"prompt": "a"}), name=name)
        assert (answer.status_code, answer.json()["field"]) == (422, "name")

    @pytest.mark.parametrize("share", ["-0.1", "1.1", "nan", "x"])
    def test_a_bad_share(self, client: httpx.Client, share: str) -> None:
        answer = upload(client, lines({"prompt": "a"}), params={"held_out": share})
        assert (answer.status_code, answer.json()["field"]) == (422, "held_out")

    def test_a_body_shorter_than_declared_stores_nothing(self, client: httpx.Client) -> None:
        address = urlsplit(str(client.base_url))
        head = (
            f"POST /v1/prompt-sets:upload?name=cut HTTP/1.1\r\nHost: x\r\nContent-Type: application/jsonl\r\n"
            f"Authorization: {client.headers['Authorization']}\r\nContent-Length: 1000\r\n\r\n"
        )
        with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
            connection.sendall(head.encode() + lines({"prompt": "a"}))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)  # the server has made up its mind: an answer, or the end
        assert client.get("/v1/prompt-sets").json()["data"] == []


class TestInline:
    def test_pages_keep_the_order(self, client: httpx.Client) -> None:
        rows = [{"prompt": f"q{number}", "split": "train"} for number in range(25)]
        answer = client.post("/v1/prompt-sets", json={"name": "set", "prompts": rows})
        assert answer.status_code == 201, answer.text
        path, seen, after = f"/v1/prompt-sets/{answer.json()['id']}/prompts", [], None
        while True:
            page = client.get(path, params={"limit": 10} | ({"after": after} if after else {})).json()
            seen += [row["messages"][0]["content"] for row in page["data"]]
            if (after := page["after"]) is None:
                break
        assert seen == [f"q{number}" for number in range(25)]

    def test_inline_and_uploaded_are_the_same_set(self, client: httpx.Client) -> None:
        rows = [{"prompt": "a", "reference": "r"}, {"prompt": "b", "cohort": "honesty"}]
        inline = client.post("/v1/prompt-sets", json={"name": "inline", "prompts": rows}).json()
        assert inline["digest"] == uploaded(client, lines(*rows))["digest"]

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"name": "s", "prompts": []}, "prompts"),
            ({"name": "s"}, "prompts"),
            ({"name": "s", "prompts": [{"prompt": "a"}, {"messages": [{"role": "user", "text": "b"}]}]},
             "prompts[1].messages[0].text"),
            ({"name": "s", "prompts": [{"prompt": "a"}], "held_out": "0.5"}, "held_out"),
            ({"name": "s", "prompts": [{"prompt": "a"}], "held_out": True}, "held_out"),
        ],
    )  # fmt: skip
    def test_refused(self, client: httpx.Client, body: dict[str, Any], field: str) -> None:
        answer = client.post("/v1/prompt-sets", json=body)
        assert answer.status_code == 422
        assert field in [error["field"] for error in answer.json()["errors"]]

    def test_a_check_that_could_not_run_is_refused(self, client: httpx.Client) -> None:
        check = {"kind": "pattern", "pattern": "("}
        row = {"prompt": "a", "criteria": [{"name": "c", "description": "d", "check": check}]}
        answer = client.post("/v1/prompt-sets", json={"name": "s", "prompts": [row]})
        assert (answer.status_code, answer.json()["field"]) == (422, "prompts[0]")
