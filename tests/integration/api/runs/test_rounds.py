"""Rounds over HTTP: their stages, what is refused, what a fork reuses, what a listing holds, what they will take."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, update

from app.db.models import Comparison, Completion, Preference, RevisedAnswer
from tests.integration.api.runs.produced import FIGURES, label
from tests.integration.api.runs.service import PROMPTS, Client

ROUNDS = {"count": 2}
LABELLED = {
    **PROMPTS,
    "name": "labelled",
    "prompts": [
        {
            **prompt,  # type: ignore[dict-item]
            "candidates": ["One.", "Two."],
            "preferences": [{"first": 0, "second": 1}],
        }
        for prompt in PROMPTS["prompts"]
    ],
}


def recipe(**changes: Any) -> dict[str, Any]:
    return {"sample": {"prompts_per_shard": 100}, "judge": {"prompts_per_shard": 100}, "rounds": ROUNDS, **changes}


class TestCreation:
    def test_every_round_has_its_stages(self, client: Client) -> None:
        run = client.run(recipe=recipe())
        kinds = ["sample", "judge", "prefer", "reward_model", "policy", "evaluate"]
        assert [(stage["round"], stage["kind"]) for stage in run["stages"]] == [(r, k) for r in (0, 1) for k in kinds]
        assert run["recipe"]["rounds"] == {
            "count": 2,
            "minimum_improvement": 0.0,
            "maximum_kl": None,
            "maximum_length_ratio": None,
        }

    @pytest.mark.parametrize(
        ("changes", "prompts", "field"),
        [
            ({"stop_after": "policy"}, PROMPTS, "recipe.stop_after"),
            ({"sample": {"source": "prompt_set"}}, LABELLED, "recipe.sample.source"),
            (
                {"sample": {"source": "prompt_set"}, "prefer": {"source": "prompt_set"}},
                LABELLED,
                "recipe.prefer.source",
            ),
        ],
    )
    def test_what_is_the_same_in_every_round_is_refused(
        self, client: Client, changes: dict[str, Any], prompts: dict[str, Any], field: str
    ) -> None:
        body = client.request(recipe=recipe(**changes), prompt_set=prompts)
        for path in ("/v1/runs", "/v1/runs:estimate"):
            refused = client.post(path, body, expect=422)
            assert (refused["code"], refused["errors"][0]["field"]) == ("rounds_refused", field)
            assert "leave recipe.rounds out" in refused["detail"]

    @pytest.mark.parametrize(
        "rounds", [{"count": 1}, {"count": 21}, {"count": 2, "maximum_kl": 0}, {"count": 2, "rest": 1}]
    )
    def test_figures_out_of_range_are_refused(self, client: Client, rounds: dict[str, Any]) -> None:
        refused = client.post("/v1/runs", client.request(recipe=recipe(rounds=rounds)), expect=422)
        assert refused["errors"][0]["field"].startswith("recipe.rounds.")


class TestFork:
    @pytest.fixture
    def source(self, client: Client) -> dict[str, Any]:
        """A run whose first round is judged, and which then stopped there for a fork to go on."""
        run = client.run(recipe=recipe())
        client.drive(run["id"], metrics=FIGURES, stop_before="policy")
        return dict(client.get(f"/v1/runs/{run['id']}"))

    def test_reuses_the_first_round_and_runs_the_others_anew(self, client: Client, source: dict[str, Any]) -> None:
        made = client.post("/v1/runs", {"name": "fork", "fork": {"run": source["id"], "from_stage": "reward_model"}})
        assert made["recipe"]["rounds"]["count"] == 2
        assert [stage["status"] for stage in made["stages"]] == ["reused"] * 3 + ["running"] + ["pending"] * 8
        assert [stage["round"] for stage in made["stages"]] == [0] * 6 + [1] * 6

    def test_may_have_more_rounds_or_none(self, client: Client, source: dict[str, Any]) -> None:
        fork = {"name": "fork", "fork": {"run": source["id"], "from_stage": "policy"}}
        more = client.post("/v1/runs", {**fork, "recipe": {"rounds": {"count": 4}}})
        none = client.post("/v1/runs", {**fork, "recipe": {"rounds": None}})
        assert {stage["round"] for stage in more["stages"]} == {0, 1, 2, 3}
        assert {stage["round"] for stage in none["stages"]} == {0}

    def test_lists_what_the_source_made_in_the_first_round_alone(self, client: Client, source: dict[str, Any]) -> None:
        with client.service.sessions.begin() as session:
            second = label(session, source["id"])
            for table in (Completion, Comparison, Preference):
                session.execute(update(table).where(table.run_id == source["id"]).values(round=1))
            session.execute(delete(RevisedAnswer).where(RevisedAnswer.run_id == source["id"]))  # of no round
        with client.service.sessions.begin() as session:
            first = label(session, source["id"])
        assert len(client.rows(f"/v1/runs/{source['id']}/completions")) == len(first.completions + second.completions)
        made = client.post("/v1/runs", {"name": "fork", "fork": {"run": source["id"], "from_stage": "policy"}})
        for path, ids in {
            "completions": first.completions,
            "comparisons": first.comparisons,
            "verdicts": first.verdicts,
            "preferences": [*first.preferences[:2], *first.preferences[3:]],
            "scores": first.scores,
        }.items():
            assert [row["id"] for row in client.rows(f"/v1/runs/{made['id']}/{path}")] == ids, path


class TestEstimate:
    def test_every_round_counts_and_the_later_ones_at_most(self, client: Client) -> None:
        once = client.post("/v1/runs:estimate", client.request(recipe=recipe(rounds=None)), expect=200)
        thrice = client.post("/v1/runs:estimate", client.request(recipe=recipe(rounds={"count": 3})), expect=200)
        assert thrice["calls"] == 3 * once["calls"]
        assert [stage["round"] for stage in thrice["stages"]] == [0] * 6 + [1] * 6 + [2] * 6
        later = [stage["notes"][-1] for stage in thrice["stages"] if stage["round"]]
        assert set(later) == {"at most so much: the rounds may end before this one"}

    def test_what_a_fork_reuses_is_repeated_in_later_rounds(self, client: Client) -> None:
        source = client.run()
        client.drive(source["id"])
        fork = {"name": "fork", "fork": {"run": source["id"], "from_stage": "policy"}, "recipe": {"rounds": ROUNDS}}
        found = client.post("/v1/runs:estimate", fork, expect=200)
        assert [(stage["round"], stage["stage"]) for stage in found["stages"]][:3] == [
            (0, "policy"),
            (0, "evaluate"),
            (1, "sample"),
        ]
