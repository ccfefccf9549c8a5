"""Forks: what came before is reused, not repeated, and its results are read from the run that made them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.db.models import CheckpointKind, Shard, Stage
from tests.integration.api.runs.produced import FIGURES, evaluate, label, publish
from tests.integration.api.runs.service import JUDGE, RUBRIC, Client, Service


@pytest.fixture
def source(client: Client) -> dict[str, Any]:
    """A run to its end."""
    run = client.run()
    client.drive(run["id"], metrics=FIGURES)
    return dict(client.get(f"/v1/runs/{run['id']}"))


def fork(run: dict[str, Any], from_stage: str, **changes: Any) -> dict[str, Any]:
    """The body of a fork that names nothing but what it changes."""
    return {"name": "fork", "fork": {"run": run["id"], "from_stage": from_stage}, **changes}


class TestFork:
    def test_reuses_what_came_before(self, client: Client, source: dict[str, Any]) -> None:
        made = client.post("/v1/runs", fork(source, "policy"))
        assert [(stage["kind"], stage["status"]) for stage in made["stages"]] == [
            ("sample", "reused"),
            ("judge", "reused"),
            ("prefer", "reused"),
            ("reward_model", "reused"),
            ("policy", "running"),
            ("evaluate", "pending"),
        ]
        assert {stage["source_run_id"] for stage in made["stages"][:4]} == {source["id"]}
        assert made["stages"][1]["metrics"] == source["stages"][1]["metrics"]
        assert made["total"]["compute_seconds"] == 0
        assert made["inputs"] == {**source["inputs"], "forked_from_id": source["id"]}

    def test_cuts_shards_only_for_what_is_left(self, client: Client, source: dict[str, Any]) -> None:
        made = client.post("/v1/runs", fork(source, "policy"))
        client.drive(made["id"])
        with client.service.sessions() as session:
            query = select(Stage.kind).join(Shard, Shard.stage_id == Stage.id).where(Stage.run_id == made["id"])
            assert set(session.scalars(query)) == {"policy", "evaluate"}
        assert client.get(f"/v1/runs/{made['id']}")["status"] == "succeeded"

    def test_a_fork_of_a_fork_names_the_run_that_executed(self, client: Client, source: dict[str, Any]) -> None:
        middle = client.post("/v1/runs", fork(source, "judge"))
        client.drive(middle["id"])
        last = client.post("/v1/runs", fork(middle, "prefer"))
        assert [stage["source_run_id"] for stage in last["stages"][:3]] == [source["id"], middle["id"], None]

    def test_takes_over_the_recipe_and_states_what_differs(self, client: Client, source: dict[str, Any]) -> None:
        changes = {"policy": {"beta": 0.3}, "budget": {"judge_usd": 2.0}}
        made = client.post("/v1/runs", fork(source, "policy", recipe=changes))
        assert made["recipe"]["policy"] == {**source["recipe"]["policy"], "beta": 0.3}
        assert made["recipe"]["sample"] == source["recipe"]["sample"]
        assert made["recipe"]["budget"]["judge_usd"] == 2.0

    def test_judging_again_may_change_rubric_and_judge(self, client: Client, source: dict[str, Any]) -> None:
        rubric = {**RUBRIC, "name": "stricter", "description": "Shorter still."}
        judge = {"name": "sharper", "spec": {"kind": "checks", "sharpness": 9.0}}
        made = client.post("/v1/runs", fork(source, "judge", rubric=rubric, judge=judge))
        assert made["inputs"]["rubric_revision_id"] != source["inputs"]["rubric_revision_id"]
        assert made["inputs"]["judge_id"] != source["inputs"]["judge_id"]

    def test_goes_on_from_a_run_that_stopped_early(self, client: Client) -> None:
        run = client.run(recipe={"stop_after": "judge"})
        client.drive(run["id"])
        made = client.post("/v1/runs", fork(run, "prefer"))
        assert [stage["status"] for stage in made["stages"]][:3] == ["reused", "reused", "running"]
        assert made["recipe"]["stop_after"] == "evaluate"


class TestRefusals:
    @pytest.mark.parametrize(
        ("from_stage", "changes", "field"),
        [
            ("sample", {}, "fork.from_stage"),
            ("evaluate", {"recipe": {"stop_after": "policy"}}, "fork.from_stage"),
            ("policy", {"recipe": {"sample": {"temperature": 0.5}}}, "recipe.sample"),
            ("prefer", {"judge": {"name": "other", "spec": {"kind": "checks", "sharpness": 1.0}}}, "judge"),
            ("prefer", {"rubric": {**RUBRIC, "name": "other"}}, "rubric"),
            ("policy", {"prompt_set": "other"}, "prompt_set"),
            (
                "policy",
                {"recipe": {"evaluate": {"completions": 8}, "sample": {"held_out_completions": 8}}},
                "recipe.sample",
            ),
        ],
    )
    def test_names_what_may_not_differ(
        self, client: Client, source: dict[str, Any], from_stage: str, changes: dict[str, Any], field: str
    ) -> None:
        if changes.get("prompt_set") == "other":
            prompts = [{"messages": [{"role": "user", "content": "x"}], "split": split} for split in ("train",)]
            changes = {"prompt_set": {"name": "other", "prompts": prompts}}
        problem = client.post("/v1/runs", fork(source, from_stage, **changes), expect=422)
        assert (problem["code"], problem["field"]) == ("fork_refused", field)

    def test_an_unfinished_stage_cannot_be_reused(self, client: Client) -> None:
        run = client.run()
        client.drive(run["id"], stop_before="prefer")
        problem = client.post("/v1/runs", fork(run, "reward_model"), expect=409)
        assert problem["code"] == "stage_not_finished"
        assert problem["detail"].startswith("stage 'prefer' of run ")
        assert "prefer" in problem["detail"]
        client.post("/v1/runs", fork(run, "prefer"))

    def test_imported_candidates_without_a_baseline_cannot_be_evaluated(self, client: Client) -> None:
        prompts = [
            {"messages": [{"role": "user", "content": "a"}], "split": "train", "candidates": ["x", "y"]},
            {"messages": [{"role": "user", "content": "b"}], "split": "held_out"},
        ]
        imports = {"sample": {"source": "prompt_set"}, "stop_after": "judge"}
        run = client.run(prompt_set={"name": "brought", "prompts": prompts}, recipe=imports)
        client.drive(run["id"])
        problem = client.post("/v1/runs", fork(run, "prefer"), expect=422)
        assert (problem["code"], problem["field"]) == ("fork_refused", "fork.run")
        client.post("/v1/runs", fork(run, "prefer", recipe={"stop_after": "policy"}))

    def test_the_rules_hold_for_forks_too(self, client: Client, source: dict[str, Any]) -> None:
        body = fork(source, "evaluate", evaluation_judge={**JUDGE, "name": "again"})
        assert client.post("/v1/runs", body, expect=422)["code"] == "circular_evaluation"


class TestResults:
    def test_are_read_from_the_run_that_made_them(
        self, client: Client, source: dict[str, Any], service: Service
    ) -> None:
        with service.sessions.begin() as session:
            labelled, evaluated = label(session, source["id"]), evaluate(session, source["id"])
        made = client.post("/v1/runs", fork(source, "policy"))
        with service.sessions.begin() as session:
            own = evaluate(session, made["id"])
        base = f"/v1/runs/{made['id']}"
        for listing in ("completions", "comparisons", "verdicts"):
            ids = [row["id"] for row in client.rows(f"{base}/{listing}", limit=3)]
            assert ids == sorted(getattr(labelled, listing) + getattr(own, listing))
            assert set(ids).isdisjoint(getattr(evaluated, listing))
        preferences = [row["id"] for row in client.rows(f"{base}/preferences", include_dropped=True)]
        assert preferences == labelled.preferences
        assert len(client.http.get(f"{base}/preferences", params={"format": "trl"}).text.splitlines()) == 2

    def test_judged_again_leaves_the_sources_verdicts_out(
        self, client: Client, source: dict[str, Any], service: Service
    ) -> None:
        with service.sessions.begin() as session:
            labelled = label(session, source["id"])
        made = client.post("/v1/runs", fork(source, "judge"))
        base = f"/v1/runs/{made['id']}"
        assert [row["id"] for row in client.rows(f"{base}/completions")] == labelled.completions
        for listing in ("comparisons", "verdicts", "preferences"):
            assert client.rows(f"{base}/{listing}") == []

    def test_reused_checkpoints_are_listed(
        self, client: Client, source: dict[str, Any], service: Service, tmp_path: Path
    ) -> None:
        (tmp_path / "weights").write_bytes(b"w")
        with service.sessions.begin() as session:
            reward = publish(session, service.store, source["id"], tmp_path, CheckpointKind.REWARD_MODEL)
        made = client.post("/v1/runs", fork(source, "policy"))
        assert [row["id"] for row in client.rows("/v1/checkpoints", run=made["id"])] == [reward]


def test_the_source_is_left_as_it_was(client: Client, source: dict[str, Any]) -> None:
    before = client.get(f"/v1/runs/{source['id']}")
    client.drive(client.post("/v1/runs", fork(source, "prefer"))["id"])
    assert client.get(f"/v1/runs/{source['id']}") == before
