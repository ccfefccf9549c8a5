"""A run to completion by the real processes, and every result that a client can fetch of it."""

from __future__ import annotations

import hashlib
import io
import json
import math
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.process.service import EXAMPLES, HELD_OUT, TRAIN, Service

STAGES = ("sample", "judge", "prefer", "reward_model", "policy", "evaluate")
TABLES = ("completions", "comparisons", "verdicts", "preferences")
EVERYTHING = {"preferences": {"include_dropped": "true"}}


class TestCourse:
    def test_every_stage_succeeds_with_all_of_its_units(self, service: Service, checked_run: str) -> None:
        run = service.run(checked_run)
        assert (run["status"], run["error"]) == ("succeeded", None)
        assert [stage["kind"] for stage in run["stages"]] == list(STAGES)
        for stage in run["stages"]:
            assert stage["status"] == "succeeded", stage
            assert stage["done_units"] == stage["total_units"] > 0, stage
            assert stage["done_shards"] == stage["total_shards"] > 0, stage

    def test_events_tell_it_in_order(self, service: Service, checked_run: str) -> None:
        events = [row for row in service.events(checked_run) if row["type"] != "shard.attempt_failed"]
        told = [(row["type"], row["data"].get("stage")) for row in events]
        by_stage = [(f"stage.{what}", kind) for kind in STAGES for what in ("started", "succeeded")]
        promoted = ("checkpoint.promoted", None)  # as the evaluation ends
        course = [*by_stage[:-1], promoted, by_stage[-1]]
        assert told == [("run.queued", None), ("run.started", None), *course, ("run.succeeded", None)]
        assert all(one["id"] < other["id"] for one, other in pairwise(events))
        assert all(one["created_at"] <= other["created_at"] for one, other in pairwise(events))

    def test_every_training_step_has_its_metrics(self, service: Service, checked_run: str) -> None:
        points = service.pages(f"/v1/runs/{checked_run}/metrics")
        for kind in ("reward_model", "policy"):
            steps = [point["step"] for point in points if point["stage"] == kind]
            assert steps == list(range(1, service.stage(checked_run, kind)["total_units"] + 1))
        assert all(math.isfinite(point["data"]["loss"]) for point in points)

    def test_finished_run_costs_a_poll_nothing(self, service: Service, checked_run: str) -> None:
        first = service.client.get(f"/v1/runs/{checked_run}")
        headers = {"If-None-Match": first.headers["ETag"]}
        again = service.client.get(f"/v1/runs/{checked_run}", params={"wait": 30}, headers=headers)
        assert (again.status_code, again.content) == (304, b"")


class TestEvidence:
    def test_report_and_usage_agree_with_the_rows(self, service: Service, checked_run: str) -> None:
        report = service.get(f"/v1/runs/{checked_run}/report")
        verdicts = service.pages(f"/v1/runs/{checked_run}/verdicts")
        trained = [row for row in verdicts if row["purpose"] != "evaluation"]
        assert report["judge"]["metrics"]["verdicts"] == len(trained)
        assert report["judge"]["metrics"]["coverage"] == 1.0
        assert report["headline"]["win_rate"]["n_prompts"] == HELD_OUT
        assert report["lineage"]["prompt_set"]["train_count"] == TRAIN
        assert {row["kind"] for row in report["lineage"]["checkpoints"]} == {"reward_model", "policy"}
        usage = service.get(f"/v1/runs/{checked_run}/usage")
        assert [row["stage"] for row in usage["stages"]] == list(STAGES)
        assert usage["total"]["judge_usd"] == 0
        assert usage["total"]["compute_seconds"] == pytest.approx(
            sum(row["compute_seconds"] for row in usage["stages"])
        )

    @pytest.mark.parametrize("format_", ["markdown", "text"])
    def test_report_for_people_has_the_headline(self, service: Service, checked_run: str, format_: str) -> None:
        sentence = service.get(f"/v1/runs/{checked_run}/report")["headline"]["sentence"]
        answer = service.client.get(f"/v1/runs/{checked_run}/report", params={"format": format_})
        assert "".join(sentence.split()) in "".join(answer.text.split())

    def test_evaluation_is_of_the_policy_by_the_other_judge(self, service: Service, checked_run: str) -> None:
        (evaluation,) = service.get(f"/v1/runs/{checked_run}/evaluations")["data"]
        assert evaluation["checkpoint_id"] == service.policy(checked_run)["id"]
        assert evaluation["judge_id"] == service.parts_of_runs.evaluation_judge
        assert evaluation["metrics"]["circular"] is False


class TestExports:
    @pytest.mark.parametrize("table", TABLES)
    def test_pages_jsonl_and_parquet_are_the_same_rows(self, service: Service, checked_run: str, table: str) -> None:
        path, query = f"/v1/runs/{checked_run}/{table}", EVERYTHING.get(table, {})
        rows = service.pages(path, **query)
        assert len(rows) == service.count(table, checked_run) > 0
        assert list(_jsonl(service, path, format="jsonl", **query)) == rows
        parquet = pq.read_table(io.BytesIO(service.client.get(path, params={"format": "parquet", **query}).content))
        assert [_plain(row) for row in parquet.to_pylist()] == [_plain(row) for row in rows]

    def test_trainers_formats_hold_every_pair_that_prefers_a_side(self, service: Service, checked_run: str) -> None:
        path = f"/v1/runs/{checked_run}/preferences"
        texts = {row["id"]: row["text"] for row in service.pages(f"/v1/runs/{checked_run}/completions")}
        kept = [row for row in service.pages(path, split="train") if row["probability"] != 0.5]
        better = [row["first_id"] if row["probability"] > 0.5 else row["second_id"] for row in kept]
        trl = list(_jsonl(service, path, format="trl"))
        assert sorted(row["chosen"][0]["content"] for row in trl) == sorted(texts[id_] for id_ in better)
        assert all(row["probability"] > 0.5 and row["prompt"][-1]["role"] == "user" for row in trl)
        openai = list(_jsonl(service, path, format="openai"))
        sides = [(row["input"]["messages"], row["preferred_output"], row["non_preferred_output"]) for row in openai]
        assert sides == [(row["prompt"], row["chosen"], row["rejected"]) for row in trl]


class TestCheckpoint:
    def test_archive_is_what_the_manifest_says_and_answers_a_chat(
        self, service: Service, checked_run: str, tmp_path: Path
    ) -> None:
        checkpoint = service.policy(checked_run)
        archive = service.client.get(f"/v1/checkpoints/{checkpoint['id']}/archive").content
        subprocess.run(["tar", "-x", "-C", tmp_path], input=archive, check=True)
        directory = tmp_path / checkpoint["id"]
        assert _digest(directory, checkpoint["manifest"]["files"]) == checkpoint["digest"]
        base = (EXAMPLES / "base_model" / "model.safetensors").read_bytes()
        assert (directory / "model.safetensors").read_bytes() != base
        assert _reply(directory, "What is salt?")

    def test_file_can_be_fetched_from_any_byte_on(self, service: Service, checked_run: str) -> None:
        checkpoint = service.policy(checked_run)
        entry = next(entry for entry in checkpoint["manifest"]["files"] if entry["name"] == "model.safetensors")
        path, middle = f"/v1/checkpoints/{checkpoint['id']}/files/model.safetensors", entry["size"] // 2
        head = service.client.get(path, headers={"Range": f"bytes=0-{middle - 1}"})
        rest = service.client.get(path, headers={"Range": f"bytes={middle}-", "If-Range": head.headers["ETag"]})
        assert (head.status_code, rest.status_code) == (206, 206)
        assert hashlib.sha256(head.content + rest.content).hexdigest() == entry["sha256"]


def _jsonl(service: Service, path: str, **query: str) -> Iterator[Any]:
    answer = service.client.get(path, params=query)
    assert answer.is_success, answer.text
    return map(json.loads, answer.text.splitlines())


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its times, which the two formats write differently, and with objects as JSON text."""
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
        for name, value in row.items()
        if name != "created_at"
    }


def _digest(directory: Path, files: list[dict[str, Any]]) -> str:
    """The manifest's digest from the files alone, after each was compared with its entry."""
    lines = ""
    for entry in files:
        content = (directory / entry["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["size"], entry["sha256"])
        lines += f"{entry['sha256']}  {entry['name']}\n"
    return hashlib.sha256(lines.encode()).hexdigest()


def _reply(directory: Path, question: str) -> str:
    """What the checkpoint answers in plain transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(directory)
    model: Any = AutoModelForCausalLM.from_pretrained(directory)
    chat = [{"role": "user", "content": question}]
    inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    tokens = model.generate(**inputs, do_sample=False, max_new_tokens=16)
    return str(tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()
