"""Exports: the same rows as the pages, in every format, in constant memory."""

from __future__ import annotations

import io
import json
import tracemalloc
from datetime import datetime
from typing import Any, cast

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text
from sqlalchemy.pool import QueuePool

from app.repositories import results
from app.repositories.results import CompletionFilter, Provenance
from app.schemas.completion import CompletionOut
from app.services import exports
from tests.integration.api.runs.produced import NASTY, Produced, label
from tests.integration.api.runs.service import Client, Service
from tests.stack import wait_for

LISTINGS = ("revisions", "completions", "comparisons", "verdicts", "scores", "preferences")


@pytest.fixture
def run_id(client: Client) -> str:
    return str(client.run()["id"])


@pytest.fixture
def produced(client: Client, run_id: str) -> Produced:
    with client.service.sessions.begin() as session:
        return label(session, run_id)


class TestFormats:
    @pytest.mark.parametrize("listing", LISTINGS)
    def test_pages_jsonl_and_parquet_hold_the_same_rows(
        self, client: Client, run_id: str, produced: Produced, listing: str
    ) -> None:
        path = f"/v1/runs/{run_id}/{listing}"
        every = {"include_dropped": True} if listing == "preferences" else {}
        pages = client.rows(path, limit=5, **every)
        assert [row["id"] for row in pages] == getattr(produced, listing)
        jsonl = client.http.get(path, params={"format": "jsonl", **every})
        assert [json.loads(line) for line in jsonl.text.splitlines()] == pages
        assert f'filename="{listing}.jsonl"' in jsonl.headers["Content-Disposition"]
        parquet = client.http.get(path, params={"format": "parquet", **every})
        table = pq.read_table(io.BytesIO(parquet.content))
        assert [_from_columns(row) for row in table.to_pylist()] == [_from_json(row) for row in pages]

    @pytest.mark.parametrize("listing", LISTINGS)
    @pytest.mark.parametrize("format_", ["jsonl", "parquet"])
    def test_nothing_yet_is_an_empty_file(self, client: Client, run_id: str, listing: str, format_: str) -> None:
        answer = client.http.get(f"/v1/runs/{run_id}/{listing}", params={"format": format_})
        assert answer.status_code == 200
        if format_ == "parquet":
            table = pq.read_table(io.BytesIO(answer.content))
            assert table.num_rows == 0
            assert "created_at" in table.column_names
        else:
            assert answer.content == b""

    def test_memory_does_not_grow_with_the_rows(self, client: Client, run_id: str, service: Service) -> None:
        """Twenty thousand completions of two kilobytes each, in a quarter of their room."""
        with service.sessions.begin() as session:
            produced = label(session, run_id)
            session.execute(text(_MANY), {"id": produced.completions[0]})
        provenance = Provenance(run_id, {})
        rows = exports.batches(
            service.sessions, lambda read, slice_: results.completions(read, provenance, CompletionFilter(), slice_)
        )
        tracemalloc.start()
        size = sum(len(block) for block in exports.as_jsonl(exports.validated(rows, CompletionOut)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert size > 40_000_000
        assert peak < size / 4

    def test_a_client_that_stops_reading_holds_no_connection(
        self, client: Client, run_id: str, service: Service
    ) -> None:
        """Its rows are far more than the sockets' buffers hold, so the server is stopped in their midst."""
        with service.sessions.begin() as session:
            produced = label(session, run_id)
            session.execute(text(_MANY), {"id": produced.completions[0]})
        path = f"/v1/runs/{run_id}/completions"
        with client.http.stream("GET", path, params={"format": "jsonl"}) as answer:
            assert answer.status_code == 200
            next(answer.iter_raw())
            wait_for(lambda: _connections_in_use(service) == 0, what="the connection's return")
        wait_for(lambda: _connections_in_use(service) == 0, what="the connection's return")


class TestTrainerFormats:
    def test_trl_rows_prefer_the_better_side(self, client: Client, run_id: str, produced: Produced) -> None:
        """Of four train prompts one leans to the second completion, one is even, one was dropped."""
        rows = _lines(client, run_id, "trl")
        assert [row["probability"] for row in rows] == [0.8, 0.9]
        assert rows[0]["prompt"] == [{"role": "user", "content": "What is 0?"}]
        assert rows[0]["chosen"] == [{"role": "assistant", "content": f"1 of 0: {NASTY}"}]
        assert rows[0]["rejected"] == [{"role": "assistant", "content": f"0 of 0: {NASTY}"}]
        assert rows[1]["chosen"][0]["content"].startswith("0 of 3")
        assert "margin" not in rows[0]  # TRL's reward trainer would subtract it

    def test_held_out_pairs_are_exported_only_when_asked_for(
        self, client: Client, run_id: str, produced: Produced
    ) -> None:
        held_out = _lines(client, run_id, "trl", split="held_out")
        assert [row["prompt"][0]["content"] for row in held_out] == ["Why is 0?", "Why is 1?"]

    def test_openai_rows(self, client: Client, run_id: str, produced: Produced) -> None:
        rows = _lines(client, run_id, "openai")
        assert rows[0] == {
            "input": {
                "messages": [{"role": "user", "content": "What is 0?"}],
                "tools": [],
                "parallel_tool_calls": True,
            },
            "preferred_output": [{"role": "assistant", "content": f"1 of 0: {NASTY}"}],
            "non_preferred_output": [{"role": "assistant", "content": f"0 of 0: {NASTY}"}],
        }
        assert len(rows) == 2


class TestFilters:
    def test_dropped_preferences_only_when_asked_for(self, client: Client, run_id: str, produced: Produced) -> None:
        path = f"/v1/runs/{run_id}/preferences"
        kept = client.rows(path)
        assert {row["drop_reason"] for row in kept} == {None}
        every = client.rows(path, include_dropped=True)
        assert [row["drop_reason"] for row in every if row not in kept] == ["no_valid_verdict"]

    def test_by_split_source_purpose_and_answer(self, client: Client, run_id: str, produced: Produced) -> None:
        base = f"/v1/runs/{run_id}"
        assert len(client.rows(f"{base}/completions", split="held_out")) == 4
        assert client.rows(f"{base}/completions", source="policy") == []
        assert len(client.rows(f"{base}/comparisons", purpose="held_out")) == 2
        assert len(client.rows(f"{base}/verdicts", purpose="train")) == 8
        invalid = client.rows(f"{base}/verdicts", answer="INVALID")
        assert [row["invalid_reason"] for row in invalid] == ["parse", "parse"]
        judge = client.get(base)["inputs"]["judge_id"]
        assert len(client.rows(f"{base}/verdicts", judge=judge)) == 12
        assert client.rows(f"{base}/verdicts", judge="judge_other") == []

    def test_unknown_format_is_refused(self, client: Client, run_id: str) -> None:
        assert client.get(f"/v1/runs/{run_id}/completions", expect=422, format="trl")["field"] == "format"


class TestPlans:
    def test_a_page_is_a_range_of_an_index(self, client: Client, run_id: str, service: Service) -> None:
        with service.sessions.begin() as session:
            produced = label(session, run_id)
            for number in range(3):
                other = label(session, client.run(name=str(number))["id"])
                session.execute(text(_MANY), {"id": other.completions[0]})
            session.execute(text("ANALYZE completions"))
            query = "SELECT * FROM completions WHERE run_id = :run AND id > :after ORDER BY id LIMIT 51"
            plan = session.scalars(text("EXPLAIN " + query), {"run": run_id, "after": produced.completions[3]}).all()
        assert "ix_completions_run_id_id" in "\n".join(plan)
        assert "Sort" not in "\n".join(plan)


_MANY = """
    INSERT INTO completions (id, project_id, run_id, round, split, source, prompt_id, position, text, finish_reason)
    SELECT id || lpad(n::text, 6, '0'), project_id, run_id, 1, split, source, prompt_id, n, repeat('word ', 400), 'stop'
    FROM completions, generate_series(1, 20000) AS n WHERE id = :id
"""


def _connections_in_use(service: Service) -> int:
    return cast(QueuePool, service.database.pool).checkedout()


def _lines(client: Client, run_id: str, format_: str, **params: Any) -> list[dict[str, Any]]:
    answer = client.http.get(f"/v1/runs/{run_id}/preferences", params={"format": format_, **params})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def _from_columns(row: dict[str, Any]) -> dict[str, Any]:
    """Objects are JSON text in a column, and a moment is a timestamp."""
    decoded = {name: json.loads(row[name]) for name in ("scores", "provenance") if row.get(name) is not None}
    return {**row, **decoded}


def _from_json(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "created_at": datetime.fromisoformat(row["created_at"])}
