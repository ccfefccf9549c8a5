"""Standing cohorts: traces come in, of one question the newest answer stays, and draws are stable prompt sets."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.live_api import LiveApi

JSONL = {"Content-Type": "application/jsonl"}


def exchange(question: str, answer: str = "yes", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


@pytest.fixture
def cohort(client: httpx.Client) -> str:
    made = client.post("/v1/standing-cohorts", json={"name": "desk", "size": 3})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def send(client: httpx.Client, cohort: str, *rows: Any, format_: str = "openai", **headers: str) -> httpx.Response:
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    content = gzip.compress(content) if headers.get("Content-Encoding") == "gzip" else content
    url = f"/v1/standing-cohorts/{cohort}/traces"
    return client.post(url, params={"format": format_}, content=content, headers={**JSONL, **headers})


def imported(client: httpx.Client, cohort: str, *rows: Any, **options: Any) -> dict[str, Any]:
    answer = send(client, cohort, *rows, **options)
    assert answer.status_code == 201, answer.text
    return {name: value for name, value in answer.json().items() if name != "id"}


def refreshed(client: httpx.Client, cohort: str) -> dict[str, Any]:
    answer = client.post(f"/v1/standing-cohorts/{cohort}:refresh")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def prompts(client: httpx.Client, prompt_set: str) -> list[dict[str, Any]]:
    return list(client.get(f"/v1/prompt-sets/{prompt_set}/prompts").json()["data"])


class TestTraces:
    def test_counts_what_came_and_what_could_not_serve(self, client: httpx.Client, cohort: str) -> None:
        rows = [exchange("a"), exchange("b"), exchange("a", "no"), {"messages": [{"role": "user", "content": "c"}]}]
        found = imported(client, cohort, *rows)
        assert found == {"exchanges": 4, "added": 2, "known": 1, "skipped": {"no_answer": 1}}
        assert imported(client, cohort, *rows)["added"] == 0

    def test_newest_answer_stays(self, client: httpx.Client, cohort: str) -> None:
        imported(
            client, cohort, exchange("a", "newer", created=1_700_000_100), exchange("a", "old", created=1_600_000_000)
        )
        imported(client, cohort, exchange("a", "oldest", created=1_500_000_000))
        (trace,) = client.get(f"/v1/standing-cohorts/{cohort}/traces").json()["data"]
        assert (trace["response"], trace["occurred_at"][:10]) == ("newer", "2023-11-14")

    def test_spans_and_gzip(self, client: httpx.Client, cohort: str) -> None:
        said = [{"role": "user", "parts": [{"type": "text", "content": "a"}]}]
        answered = [{"role": "assistant", "parts": [{"type": "text", "content": "b"}]}]
        span = {"attributes": {"gen_ai.input.messages": said, "gen_ai.output.messages": answered}}
        found = imported(client, cohort, span, format_="otel", **{"Content-Encoding": "gzip"})
        assert found["added"] == 1

    def test_lines_of_another_format_are_named_and_nothing_is_stored(self, client: httpx.Client, cohort: str) -> None:
        answer = send(client, cohort, exchange("a"), {"prompt": "b"}, exchange("c"), [])
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_traces")
        assert [error["field"] for error in answer.json()["errors"]] == ["line 2", "line 4"]
        assert client.get(f"/v1/standing-cohorts/{cohort}/traces").json()["data"] == []

    def test_nul_is_refused_by_name(self, client: httpx.Client, cohort: str) -> None:
        assert send(client, cohort, exchange("a\x00")).status_code == 422

    def test_damaged_gzip_is_refused(self, client: httpx.Client, cohort: str) -> None:
        url = f"/v1/standing-cohorts/{cohort}/traces"
        headers = {**JSONL, "Content-Encoding": "gzip"}
        answer = client.post(url, params={"format": "openai"}, content=b"no gzip", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "upload_damaged")


class TestDraws:
    def test_a_draw_is_a_held_out_prompt_set_with_productions_answers(self, client: httpx.Client, cohort: str) -> None:
        imported(client, cohort, exchange("a", "yes", model="gpt-5"))
        prompt_set = refreshed(client, cohort)["prompt_set_id"]
        found = client.get(f"/v1/prompt-sets/{prompt_set}").json()
        assert (found["held_out_count"], found["train_count"], found["cohorts"]) == (1, 0, {"production": 1})
        (prompt,) = prompts(client, prompt_set)
        assert (prompt["candidates"], prompt["authors"]) == (["yes"], ["gpt-5"])

    def test_nothing_new_makes_no_new_set(self, client: httpx.Client, cohort: str) -> None:
        imported(client, cohort, exchange("a"))
        first = refreshed(client, cohort)
        again = refreshed(client, cohort)
        assert again["prompt_set_id"] == first["prompt_set_id"]
        assert again["refreshed_at"] > first["refreshed_at"]

    def test_a_draw_is_bounded_and_changes_little(self, client: httpx.Client, cohort: str) -> None:
        imported(client, cohort, *(exchange(str(number)) for number in range(20)))
        before = {prompt["id"] for prompt in prompts(client, refreshed(client, cohort)["prompt_set_id"])}
        imported(client, cohort, exchange("another"))
        after = {prompt["id"] for prompt in prompts(client, refreshed(client, cohort)["prompt_set_id"])}
        assert (len(before), len(after)) == (3, 3)
        assert len(before & after) >= 2

    def test_old_traces_are_not_drawn(self, client: httpx.Client) -> None:
        made = client.post("/v1/standing-cohorts", json={"name": "young", "maximum_age_days": 30}).json()
        imported(client, made["id"], exchange("a", created=1_600_000_000))
        refused = client.post(f"/v1/standing-cohorts/{made['id']}:refresh")
        assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_draw")
        assert "30 days" in refused.json()["detail"]
        imported(client, made["id"], exchange("b"))
        (prompt,) = prompts(client, refreshed(client, made["id"])["prompt_set_id"])
        assert prompt["messages"][0]["content"] == "b"

    def test_a_draw_again_uses_the_set_that_was_drawn_before(self, client: httpx.Client, cohort: str) -> None:
        imported(client, cohort, exchange("a", "yes", created=1_700_000_000))
        first = refreshed(client, cohort)["prompt_set_id"]
        imported(client, cohort, exchange("a", "no", created=1_700_000_001))
        assert refreshed(client, cohort)["prompt_set_id"] != first
        imported(client, cohort, exchange("a", "yes", created=1_700_000_002))
        assert refreshed(client, cohort)["prompt_set_id"] == first

    def test_deleting_it_forgets_the_traces_and_keeps_the_draws(self, client: httpx.Client, cohort: str) -> None:
        imported(client, cohort, exchange("a"))
        drawn = refreshed(client, cohort)["prompt_set_id"]
        assert client.delete(f"/v1/standing-cohorts/{cohort}").status_code == 204
        assert client.get(f"/v1/standing-cohorts/{cohort}").status_code == 404
        assert client.get(f"/v1/prompt-sets/{drawn}").status_code == 200


class TestBounds:
    def test_a_name_is_unique(self, client: httpx.Client, cohort: str) -> None:
        assert client.post("/v1/standing-cohorts", json={"name": "desk"}).json()["code"] == "name_taken"

    @pytest.mark.parametrize(
        "field", [{"size": 0}, {"size": 10**6}, {"maximum_age_days": 0}, {"cohort": "a\nb"}, {"x": 1}]
    )
    def test_bad_settings_name_their_field(self, client: httpx.Client, field: dict[str, Any]) -> None:
        answer = client.post("/v1/standing-cohorts", json={"name": "n", **field})
        assert answer.status_code == 422
        assert next(iter(field)) in answer.text

    def test_another_projects_cohort_does_not_exist(self, api: LiveApi, cohort: str) -> None:
        stranger = api.client(api.project())
        assert send(stranger, cohort, exchange("a")).status_code == 404
        assert stranger.post(f"/v1/standing-cohorts/{cohort}:refresh").status_code == 404
        assert stranger.delete(f"/v1/standing-cohorts/{cohort}").status_code == 404
