"""Warm starts over HTTP: refused where there is nothing to learn from, reused by forks, shown in the report."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from app.db.models import Stage
from tests.integration.api.runs.service import JUDGE, PROMPTS, RUBRIC, Client, Service

TAUGHT = {"method": "sft"}
REVISED = {"method": "constitutional", "revisions": 2}
CONSTITUTION = {**RUBRIC, "name": "constitution", "principles": ["Prefer the kind answer."]}
PAIR = {"candidates": ["Salt.", "No."], "preferences": [{"first": 0, "second": 1}]}


def prompts(**brought: Any) -> dict[str, Any]:
    """A set of a name of its own whose train prompts bring what is named."""
    rows = [prompt | (brought if prompt["split"] == "train" else {}) for prompt in PROMPTS["prompts"]]  # type: ignore[index, operator]
    return {"name": "-".join(("with", *brought)), "prompts": rows}


def recipe(**warm_start: Any) -> dict[str, Any]:
    return {"sample": {"prompts_per_shard": 2}, "warm_start": warm_start}


class TestCreation:
    def test_the_warm_start_runs_first(self, client: Client) -> None:
        run = client.run(recipe=recipe(**REVISED), rubric=CONSTITUTION)
        first = run["stages"][0]
        assert (first["kind"], first["phase"], first["total_shards"], first["total_units"]) == (
            "warm_start",
            "revise",
            3,
            6,
        )

    def test_demonstrations_are_trained_on_at_once(self, client: Client) -> None:
        run = client.run(recipe=recipe(**TAUGHT), prompt_set=prompts(reference="Salt is a mineral."))
        assert (run["stages"][0]["phase"], run["stages"][0]["total_shards"]) == ("train", 1)
        assert run["recipe"]["warm_start"]["demonstrations"] == "reference"

    @pytest.mark.parametrize(
        ("warm_start", "changes", "field"),
        [
            (TAUGHT, {}, "recipe.warm_start.demonstrations"),
            (TAUGHT, {"prompt_set": prompts(reference=" \n")}, "recipe.warm_start.demonstrations"),
            (TAUGHT, {"prompt_set": prompts(**PAIR)}, "recipe.warm_start.demonstrations"),
            (
                {**TAUGHT, "demonstrations": "preferred"},
                {"prompt_set": prompts(reference="Salt.")},
                "recipe.warm_start.demonstrations",
            ),
            ({**TAUGHT, "demonstrations": "either"}, {}, "recipe.warm_start.demonstrations"),
            (REVISED, {}, "rubric"),
        ],
    )
    def test_nothing_to_learn_from_is_refused(
        self, client: Client, warm_start: dict[str, Any], changes: dict[str, Any], field: str
    ) -> None:
        problem = client.post("/v1/runs", client.request(recipe=recipe(**warm_start), **changes), expect=422)
        assert (problem["code"], problem["field"]) == ("warm_start_refused", field)
        assert client.get("/v1/runs")["data"] == []

    @pytest.mark.parametrize(
        ("warm_start", "field"),
        [
            ({**REVISED, "revisions": 5}, "recipe.warm_start.revisions"),
            ({**REVISED, "critique_request": "Criticise."}, "recipe.warm_start"),
            ({**TAUGHT, "revisions": 1}, "recipe.warm_start.revisions"),
            ({"method": "other"}, "recipe.warm_start"),
        ],
    )
    def test_settings_that_cannot_be_are_named(self, client: Client, warm_start: dict[str, Any], field: str) -> None:
        problem = client.post("/v1/runs", client.request(recipe=recipe(**warm_start), rubric=CONSTITUTION), expect=422)
        assert any(error["field"] == field for error in problem["errors"]), problem

    def test_preferred_candidates_are_demonstrations(self, client: Client) -> None:
        taught = recipe(**TAUGHT, demonstrations="either")
        assert client.run(recipe=taught, prompt_set=prompts(**PAIR))["status"] == "queued"

    def test_more_tokens_than_the_model_reads_are_refused(self, client: Client) -> None:
        asked = client.request(recipe=recipe(**REVISED, max_length=100_000), rubric=CONSTITUTION)
        assert client.post("/v1/runs", asked, expect=422)["field"] == "recipe.warm_start.max_length"


class TestCritic:
    ENDPOINT = {  # noqa: RUF012  read only
        "kind": "openai",
        "family": "gpt",
        "base_url": "https://93.184.216.34/v1",
        "model": "gpt-x",
    }

    @pytest.fixture
    def critic(self, client: Client) -> str:
        return str(client.post("/v1/judges", {"name": "critic", "spec": self.ENDPOINT})["id"])

    def ask(self, client: Client, critic: str, *, expect: int = 422, **changes: Any) -> dict[str, Any]:
        asked = {"recipe": recipe(**REVISED, critic=critic), "rubric": CONSTITUTION} | changes
        answer: dict[str, Any] = client.post("/v1/runs", client.request(**asked), expect=expect)
        return answer

    def test_an_endpoint_may_be_named(self, client: Client, critic: str) -> None:
        assert self.ask(client, critic, expect=201)["recipe"]["warm_start"]["critic"] == critic

    def test_nobody_else_writes_critiques(self, client: Client, service: Service) -> None:
        checks = client.post("/v1/judges", JUDGE)["id"]
        strange = service.client().post("/v1/judges", {"name": "critic", "spec": self.ENDPOINT})["id"]
        for id_ in (checks, strange, "judge_none"):
            problem = self.ask(client, id_)
            assert (problem["code"], problem["field"]) == ("warm_start_refused", "recipe.warm_start.critic")

    def test_it_has_a_price_where_there_is_a_limit(self, client: Client, critic: str) -> None:
        limited = recipe(**REVISED, critic=critic) | {"budget": {"judge_usd": 1.0}}
        assert self.ask(client, critic, recipe=limited)["field"] == "recipe.warm_start.critic"

    def test_it_does_not_measure_what_it_taught(self, client: Client, critic: str) -> None:
        again = {"name": "again", "spec": self.ENDPOINT}
        assert self.ask(client, critic, evaluation_judge=again)["code"] == "circular_evaluation"
        allowed = {"evaluation_judge": again, "allow_circular_evaluation": True}
        assert self.ask(client, critic, expect=201, **allowed)["status"] == "queued"


class TestEstimate:
    def test_counts_what_the_model_writes(self, client: Client) -> None:
        body = client.request(recipe=recipe(**REVISED), rubric=CONSTITUTION)
        found = client.post("/v1/runs:estimate", body, expect=200)
        stage = found["stages"][0]
        assert (stage["stage"], stage["units"], stage["seconds"]) == ("warm_start", 6 * (1 + 2 * 2), None)

    def test_goes_by_the_pace_of_the_newest_by_the_same_method(self, client: Client) -> None:
        run = client.run(recipe=recipe(**REVISED), rubric=CONSTITUTION)
        client.drive(run["id"])
        with client.service.sessions.begin() as session:
            session.execute(update(Stage).where(Stage.run_id == run["id"]).values(compute_seconds=10.0))
        seconds = []
        for revisions in (2, 4):
            asked = client.request(recipe=recipe(**REVISED | {"revisions": revisions}), rubric=CONSTITUTION)
            stage = client.post("/v1/runs:estimate", asked, expect=200)["stages"][0]
            seconds.append(stage["seconds"]["expected"])
        assert seconds[1] == pytest.approx(seconds[0] * 9 / 5)
        taught = client.request(recipe=recipe(**TAUGHT), prompt_set=prompts(reference="Salt."))
        assert client.post("/v1/runs:estimate", taught, expect=200)["stages"][0]["seconds"] is None


class TestForks:
    @pytest.fixture
    def source(self, client: Client) -> dict[str, Any]:
        run = client.run(recipe=recipe(**REVISED), rubric=CONSTITUTION)
        client.drive(run["id"])
        return run

    @staticmethod
    def fork(run: dict[str, Any], from_stage: str, **changes: Any) -> dict[str, Any]:
        return {"name": "again", "fork": {"run": run["id"], "from_stage": from_stage}, **changes}

    def test_sampling_again_reuses_the_warm_start(self, client: Client, source: dict[str, Any]) -> None:
        changed = {"recipe": {"sample": {"temperature": 0.5}}}
        made = client.post("/v1/runs", self.fork(source, "sample", **changed))
        assert [stage["status"] for stage in made["stages"]][:2] == ["reused", "running"]
        assert made["recipe"]["warm_start"] == source["recipe"]["warm_start"]

    @pytest.mark.parametrize(
        ("from_stage", "changes", "field"),
        [
            ("warm_start", {}, "fork.from_stage"),
            ("sample", {"recipe": {"warm_start": REVISED | {"revisions": 3}}}, "recipe.warm_start"),
            ("policy", {"recipe": {"warm_start": None}}, "recipe.warm_start"),
            ("sample", {"rubric": RUBRIC}, "rubric"),
        ],
    )
    def test_what_it_was_made_from_may_not_differ(
        self, client: Client, source: dict[str, Any], from_stage: str, changes: dict[str, Any], field: str
    ) -> None:
        problem = client.post("/v1/runs", self.fork(source, from_stage, **changes), expect=422)
        assert (problem["code"], problem["field"]) == ("fork_refused", field)

    def test_none_is_added_to_what_was_sampled_without(self, client: Client) -> None:
        run = client.run()
        client.drive(run["id"])
        added = self.fork(run, "policy", recipe={"warm_start": REVISED})
        problem = client.post("/v1/runs", added, expect=422)
        assert (problem["code"], problem["field"]) == ("fork_refused", "recipe.warm_start")
