"""Scores of a reward model over HTTP: asked for as a run, read by the ids that the texts came with."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from app.db.ids import Kind, new_id
from app.db.models import Checkpoint, CheckpointKind, Completion, CompletionSource, Prompt, Scope, Split
from tests.integration.api.runs.service import Client, Service

TEXTS: list[dict[str, Any]] = [
    {"id": "polite", "prompt": "What is salt?", "completion": "A mineral, gladly."},
    {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Salt?"}], "completion": "Na."},
]
SET: dict[str, Any] = {
    "name": "answers",
    "prompts": [
        {"id": "a", "prompt": "Why?", "split": "train", "candidates": ["Because.", "No idea."]},
        {"id": "b", "prompt": "How?", "split": "held_out", "candidates": ["So."]},
        {"id": "c", "prompt": "When?", "split": "train"},
    ],
}


def checkpoint(client: Client, kind: CheckpointKind = CheckpointKind.REWARD_MODEL) -> str:
    """As if a run of this project had published it."""
    run = client.run()
    row = Checkpoint(
        id=new_id(Kind.CHECKPOINT),
        project_id=client.project_id,
        run_id=run["id"],
        round=0,
        kind=kind,
        step=1,
        storage_key="checkpoints/none",
        manifest={"digest": "0", "files": []},
        digest="0" * 64,
        size_bytes=1,
        metrics={},
        lineage={"judges": []},
    )
    with client.service.sessions.begin() as session:
        session.add(row)
    return row.id


def score(client: Client, body: dict[str, Any], *, expect: int = 201) -> Any:
    return client.post(f"/v1/checkpoints/{checkpoint(client)}/scores", body, expect=expect)


def prompt_set(client: Client, **changes: Any) -> str:
    return str(client.post("/v1/prompt-sets", SET | changes)["id"])


class TestCreateScores:
    def test_it_is_a_run_of_one_stage(self, client: Client) -> None:
        id_ = checkpoint(client)
        run = client.post(f"/v1/checkpoints/{id_}/scores", {"conversations": TEXTS, "batch_size": 4})
        assert (run["kind"], run["status"], run["name"]) == ("scoring", "queued", "scores")
        assert [(stage["kind"], stage["phase"], stage["total_units"]) for stage in run["stages"]] == [
            ("score", "score", 2)
        ]
        assert run["recipe"]["score"] == {"checkpoint": id_, "batch_size": 4, "prompts_per_shard": 2048}
        assert run["inputs"]["base_model_id"] is None
        assert [each["id"] for each in client.get("/v1/runs", kind="scoring")["data"]] == [run["id"]]
        assert run["id"] not in {each["id"] for each in client.get("/v1/runs")["data"]}

    def test_texts_that_come_along_are_in_no_list_of_prompt_sets(self, client: Client) -> None:
        run = score(client, {"conversations": TEXTS})
        assert run["inputs"]["prompt_set_id"] not in {each["id"] for each in client.get("/v1/prompt-sets")["data"]}
        rows = client.rows(f"/v1/prompt-sets/{run['inputs']['prompt_set_id']}/prompts")
        assert [(row["id"], row["candidates"]) for row in rows] == [("polite", ["A mineral, gladly."]), ("1", ["Na."])]
        assert rows[1]["messages"][0]["role"] == "system"

    def test_of_a_prompt_set_both_splits(self, client: Client) -> None:
        run = score(client, {"prompt_set": prompt_set(client), "name": "all"})
        stage = run["stages"][0]
        assert (stage["total_shards"], stage["total_units"]) == (2, 3)

    def test_a_replayed_key_returns_the_same_run(self, client: Client) -> None:
        path, headers = f"/v1/checkpoints/{checkpoint(client)}/scores", {"Idempotency-Key": "k"}
        first, again = (client.post(path, {"conversations": TEXTS}, headers=headers) for _ in range(2))
        assert first["id"] == again["id"]

    def test_it_is_steered_as_any_run(self, client: Client) -> None:
        run = score(client, {"conversations": TEXTS})
        assert client.post(f"/v1/runs/{run['id']}:pause", expect=200)["status"] == "paused"
        assert client.post(f"/v1/runs/{run['id']}:resume", expect=200)["status"] == "queued"
        client.fail_next(run["id"])
        assert client.get(f"/v1/runs/{run['id']}")["status"] == "failed"
        assert client.post(f"/v1/runs/{run['id']}:retry", expect=200)["status"] in ("queued", "running")
        assert client.post(f"/v1/runs/{run['id']}:cancel", expect=200)["status"] == "cancelled"

    def test_nothing_can_go_on_from_it(self, client: Client) -> None:
        run = score(client, {"conversations": TEXTS})
        fork = {"name": "f", "fork": {"run": run["id"], "from_stage": "policy"}}
        assert client.post("/v1/runs", fork, expect=422)["field"] == "fork.run"


class TestRefused:
    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "body"),
            ({"conversations": []}, "conversations"),
            ({"conversations": TEXTS, "prompt_set": "pset_x"}, "body"),
            ({"conversations": [{"prompt": "p"}]}, "conversations[0].completion"),
            ({"conversations": [{"prompt": "p", "completion": ""}]}, "conversations[0].completion"),
            ({"conversations": [{"prompt": "p", "completion": "c", "turns": []}]}, "conversations[0].turns"),
            ({"conversations": [{"prompt": "  ", "completion": "c"}]}, "conversations[0].prompt"),
            (
                {"conversations": [TEXTS[0], {"prompt": [{"role": "assistant", "content": "x"}], "completion": "c"}]},
                "conversations[1].prompt",
            ),
            ({"conversations": [TEXTS[0], TEXTS[0]]}, "body"),
            ({"conversations": [{**TEXTS[1], "id": "1"}, TEXTS[1]]}, "body"),
            ({"conversations": [TEXTS[1]] * 1001}, "conversations"),
            ({"conversations": TEXTS, "batch_size": 0}, "batch_size"),
            ({"conversations": TEXTS, "batch_size": True}, "batch_size"),
        ],
    )
    def test_bad_input_names_the_field_and_leaves_nothing(
        self, client: Client, body: dict[str, Any], field: str
    ) -> None:
        problem = score(client, body, expect=422)
        assert problem.get("field", "body") == field, problem
        assert client.get("/v1/runs", kind="scoring")["data"] == []

    def test_a_prompt_set_without_candidates(self, client: Client) -> None:
        bare = prompt_set(client, prompts=[{"prompt": "Why?"}])
        problem = score(client, {"prompt_set": bare}, expect=422)
        assert (problem["code"], problem["field"]) == ("nothing_to_score", "prompt_set")

    def test_trajectories(self, client: Client) -> None:
        turns = [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}]
        held = prompt_set(client, prompts=[{"prompt": "Why?", "split": "held_out", "candidates": ["x", turns]}])
        problem = score(client, {"prompt_set": held}, expect=422)
        assert (problem["code"], problem["field"]) == ("nothing_to_score", "prompt_set")

    def test_a_policy_gives_no_rewards(self, client: Client) -> None:
        path = f"/v1/checkpoints/{checkpoint(client, CheckpointKind.POLICY)}/scores"
        assert client.post(path, {"conversations": TEXTS}, expect=409)["code"] == "not_scoring"

    def test_a_run_cannot_be_made_one(self, client: Client) -> None:
        recipe = {"stop_after": "score", "score": {"checkpoint": checkpoint(client)}}
        assert client.post("/v1/runs", client.request(recipe=recipe), expect=422)["field"] == "recipe.score"
        for lone in ({"stop_after": "score"}, {"score": {"checkpoint": "x"}}):
            problem = client.post("/v1/runs", client.request(recipe=lone), expect=422)
            assert "POST /v1/checkpoints/{id}/scores" in problem["detail"]

    def test_another_projects_parts_are_not_there(self, client: Client, service: Service) -> None:
        theirs = service.client()
        body = {"conversations": TEXTS}
        assert client.post(f"/v1/checkpoints/{checkpoint(theirs)}/scores", body, expect=404)["code"] == "not_found"
        problem = score(client, {"prompt_set": prompt_set(theirs)}, expect=404)
        assert (problem["code"], problem["field"]) == ("not_found", "prompt_set")
        run = score(theirs, {"conversations": TEXTS})
        assert client.get(f"/v1/runs/{run['id']}/rewards", expect=404)["code"] == "not_found"

    def test_reading_is_not_enough(self, service: Service) -> None:
        reader = service.client(Scope.READ)
        path = f"/v1/checkpoints/{new_id(Kind.CHECKPOINT)}/scores"
        assert reader.post(path, {"conversations": TEXTS}, expect=403)["code"] == "scope_missing"


def scored(client: Client, run: dict[str, Any]) -> None:
    """As a worker leaves it: a completion a candidate, the second of prompt `a` beyond the window."""
    with client.service.sessions.begin() as session:
        prompts = session.scalars(select(Prompt).where(Prompt.prompt_set_id == run["inputs"]["prompt_set_id"]))
        for prompt in prompts:
            for position, text in enumerate(prompt.candidates):
                session.add(
                    Completion(
                        id=new_id(Kind.COMPLETION),
                        project_id=client.project_id,
                        run_id=run["id"],
                        round=0,
                        split=Split(prompt.split),
                        source=CompletionSource.IMPORTED,
                        prompt_id=prompt.id,
                        position=position,
                        text=text,
                        finish_reason="imported",
                        reward=None if position else 0.5,
                        reward_spread=None if position else 0.25,
                    )
                )


class TestRewards:
    def test_they_carry_the_ids_that_the_texts_came_with(self, client: Client) -> None:
        run = score(client, {"prompt_set": prompt_set(client)})
        scored(client, run)
        rows = client.rows(f"/v1/runs/{run['id']}/rewards", limit=1)
        shown = [(row["external_id"], row["position"], row["reward"], row["reward_spread"]) for row in rows]
        assert sorted(shown) == [("a", 0, 0.5, 0.25), ("a", 1, None, None), ("b", 0, 0.5, 0.25)]
        completions = {row["id"]: row for row in client.rows(f"/v1/runs/{run['id']}/completions")}
        assert {row["completion_id"]: row["reward"] for row in rows} == {
            id_: row["reward"] for id_, row in completions.items()
        }

    def test_as_lines_and_of_one_split(self, client: Client) -> None:
        run = score(client, {"prompt_set": prompt_set(client)})
        scored(client, run)
        path = f"/v1/runs/{run['id']}/rewards"
        lines = client.http.get(path, params={"format": "jsonl"}).text.splitlines()
        assert [json.loads(line) for line in lines] == client.rows(path)
        assert [row["external_id"] for row in client.rows(path, split="held_out")] == ["b"]
        assert client.rows(path, source="policy") == []
        assert client.http.get(path, params={"format": "parquet"}).content[:4] == b"PAR1"
