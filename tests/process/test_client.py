"""The client commands as a person and a script use them: each a process, against the whole service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.exits import Exit
from tests.process.client import Client
from tests.process.service import EXAMPLES, RECIPE, Service, few_prompts


@pytest.fixture
def client(service: Service, tmp_path: Path) -> Client:
    return Client(service, tmp_path)


class TestRun:
    def test_from_files_to_checkpoint(self, client: Client, service: Service) -> None:
        prefix = service.name("cli")
        rubric = client.json("rubrics", "create", str(EXAMPLES / "rubric.json"), "--name", f"{prefix}-rubric")
        prompts = client.write("prompts.jsonl", "\n".join(few_prompts()))
        prompt_set = client.json("prompts", "upload", prompts, "--name", f"{prefix}-prompts")
        model = client.json("models", "register", "local:base_model", "--name", f"{prefix}-model")
        judges = [
            client.json("judges", "create", str(EXAMPLES / f"{name}.json"), "--name", f"{prefix}-{name}")
            for name in ("judge", "evaluation_judge")
        ]
        body = {
            "name": prefix,
            "rubric": rubric["id"],
            "prompt_set": prompt_set["id"],
            "base_model": model["id"],
            "judge": judges[0]["id"],
            "evaluation_judge": judges[1]["id"],
            "recipe": RECIPE,
        }
        estimate = client.json("runs", "estimate", client.write("run.json", body))
        assert estimate["calls"] > 0
        assert "in all" in client("runs", "estimate", "run.json")
        run = client.json("runs", "create", "run.json", "--watch", "--idempotency-key", prefix)
        assert run["status"] == "succeeded"
        assert "policy succeeded" in client.errors

        again = client.json("runs", "create", "run.json", "--idempotency-key", prefix)
        assert again["id"] == run["id"]
        self.read(client, run["id"])
        client("prompts", "download", prompt_set["id"], "-o", "back.jsonl")
        assert len((client.directory / "back.jsonl").read_text().splitlines()) == len(list(few_prompts()))

    def test_tasks(self, client: Client, service: Service) -> None:
        """From a JSON file, and the same from JSON lines."""
        name = service.name("task")
        body = json.loads((EXAMPLES / "tasks" / "facts.json").read_text())
        task = client.json("tasks", "create", str(EXAMPLES / "tasks" / "facts.json"), "--name", name)
        lines = "\n".join(json.dumps(row) for row in (body["config"], *body["documents"]))
        again = client.json("tasks", "create", client.write("facts.jsonl", lines), "--name", f"{name}-again")
        assert (again["digest"], again["document_count"]) == (task["digest"], len(body["documents"]))
        assert name in client("tasks", "list")
        assert client.json("tasks", "show", task["id"]) == task

    def read(self, client: Client, run_id: str) -> None:
        assert run_id in client("runs", "list")
        assert "succeeded" in client("runs", "get", run_id)
        assert "run.succeeded" in client("runs", "events", run_id)
        assert client.json("runs", "usage", run_id)["total"]["judge_calls"] > 0
        assert "Win rates" in client("report", run_id)
        client("preferences", "export", run_id, "-o", "preferences.jsonl", "--format", "trl")
        row = json.loads((client.directory / "preferences.jsonl").read_text().splitlines()[0])
        assert {"prompt", "chosen", "rejected"} <= set(row)
        client("runs", "export", run_id, "verdicts", "-o", "verdicts.parquet", "--format", "parquet")
        assert (client.directory / "verdicts.parquet").read_bytes()[:4] == b"PAR1"
        lines = client("checkpoints", "list", "--run", run_id, "--json").splitlines()
        policy = next(row for row in map(json.loads, lines) if row["kind"] == "policy")
        assert "files" in client("checkpoints", "pull", policy["id"], "-o", "weights")
        assert (client.directory / "weights" / "model.safetensors").stat().st_size > 1_000_000
        client("checkpoints", "pull", policy["id"], "-o", "weights", status=Exit.USAGE)

    def test_failed_watch_exits_with_failure(self, client: Client, service: Service) -> None:
        run_id = service.submit(recipe={"prefer": {"minimum_margin": 1.0}, "stop_after": "prefer"})
        client("runs", "get", run_id, "--watch", status=Exit.FAILURE)

    def test_steering(self, client: Client, service: Service) -> None:
        run_id = service.submit()
        assert client.json("runs", "pause", run_id)["id"] == run_id
        service.reaches(run_id, "paused")
        client("runs", "resume", run_id)
        client("runs", "cancel", run_id)
        service.reaches(run_id, "cancelled")
        client("runs", "retry", run_id, status=Exit.REFUSED)


class TestProject:
    def test_keys_and_secrets(self, client: Client, service: Service) -> None:
        name = service.name("cli")
        made = client.json("keys", "create", name, "--scope", "read")
        client("runs", "list", RLAIF_API_KEY=made["key"])
        client("rubrics", "create", str(EXAMPLES / "rubric.json"), status=Exit.REFUSED, RLAIF_API_KEY=made["key"])
        client("keys", "revoke", made["id"])
        client("runs", "list", status=Exit.REFUSED, RLAIF_API_KEY=made["key"])
        client("secrets", "set", name, "--host", "judge.example.com", RLAIF_SECRET_VALUE="canary-of-the-client")
        listed = client("secrets", "list", "--json")
        assert name in listed
        assert "canary-of-the-client" not in listed

    @pytest.mark.parametrize("group", ["rubrics", "prompts", "models", "judges", "keys", "secrets"])
    def test_lists_are_tables_and_json_lines(self, client: Client, service: Service, group: str) -> None:
        _ = service.parts_of_runs, service.secret
        assert "id" in client(group, "list").splitlines()[0]
        first = json.loads(client(group, "list", "--json", "--limit", "1"))
        if group in ("rubrics", "prompts", "models", "judges"):
            assert first["id"] in client(group, "show", first["id"])


class TestRefusals:
    def test_bad_field_is_named(self, client: Client) -> None:
        client("runs", "create", client.write("run.json", {"name": "x", "recipe": {"polcy": {}}}), status=Exit.REFUSED)
        assert "recipe.polcy" in client.errors

    @pytest.mark.parametrize("content", ["[1]", "{", "\xff"])
    def test_unusable_file_is_wrong_usage(self, client: Client, content: str) -> None:
        (client.directory / "bad.json").write_bytes(content.encode("latin-1"))
        client("rubrics", "create", "bad.json", status=Exit.USAGE)
        assert "bad.json" in client.errors

    def test_unwritable_target_is_wrong_usage(self, client: Client, checked_run: str) -> None:
        client("preferences", "export", checked_run, "-o", "missing/place.jsonl", status=Exit.USAGE)

    def test_no_service_and_no_key(self, client: Client) -> None:
        client("runs", "list", status=Exit.UNREACHABLE, RLAIF_URL="http://127.0.0.1:9")
        client("runs", "list", status=Exit.USAGE, RLAIF_API_KEY="")
