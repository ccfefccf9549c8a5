"""`POST /v1/trajectory-evaluations`: what is measured, who may judge it, what is refused, and how outcomes are read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select

from app.db.ids import Kind, new_id
from app.db.models import Completion, CompletionSource, Prompt, Scope, Score, Split
from app.rlaif.comparison import InvalidReason, Order
from tests.integration.api.runs.service import Client, Service

REMOTE = {"kind": "openai", "family": "gpt", "base_url": "https://93.184.216.34/v1", "model": "gpt-5"}
BOOKED: list[dict[str, Any]] = [
    {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "book", "arguments": {"seat": 4}}}]},
    {"role": "tool", "tool_call_id": "c", "name": "book", "content": "Booked."},
    {"role": "assistant", "content": "Seat 4 is yours."},
]
TASKS: list[dict[str, Any]] = [
    {
        "id": "seat",
        "prompt": "Seat 4, please.",
        "cohort": "booking",
        "split": "train",
        "candidates": [BOOKED, "No."],
        "authors": ["new", None],
        "outcomes": [True, None],
    },
    {"id": "meal", "prompt": "A meal, please.", "cohort": "booking", "split": "held_out", "candidates": ["Here."]},
]


@pytest.fixture
def parts(client: Client) -> dict[str, Any]:
    tasks = client.post("/v1/prompt-sets", {"name": "tasks", "prompts": TASKS})
    return {"prompt_set": tasks["id"], "judge": client.post("/v1/judges", {"name": "gpt", "spec": REMOTE})["id"]}


def create(client: Client, parts: dict[str, Any], expect: int = 201, **changes: Any) -> dict[str, Any]:
    return dict(client.post("/v1/trajectory-evaluations", {"name": "agents", **parts, **changes}, expect=expect))


class TestCreate:
    def test_it_is_a_run_of_one_stage_over_both_splits(self, client: Client, parts: dict[str, Any]) -> None:
        run = create(client, parts)
        assert (run["kind"], run["status"], run["inputs"]["base_model_id"]) == ("evaluation", "queued", None)
        assert [(stage["kind"], stage["phase"], stage["total_units"]) for stage in run["stages"]] == [
            ("trajectories", "import", 2)
        ]
        assert run["recipe"]["trajectories"] == {"rubric": None, "threshold": 7.5, "bootstrap_samples": 2000}
        assert run["inputs"]["evaluation_judge_id"] == parts["judge"]
        assert client.get(f"/v1/runs/{run['id']}/trajectory-success") == {"run_id": run["id"], "metrics": None}

    def test_a_rubric_of_ones_own_is_its_newest_revision(self, client: Client, parts: dict[str, Any]) -> None:
        content = {"criteria": [{"name": "polite", "description": "The agent thanks the customer."}]}
        rubric = client.post("/v1/rubrics", {"name": "manners", **content})
        run = create(client, parts, rubric=rubric["id"])
        assert run["recipe"]["trajectories"]["rubric"] == run["inputs"]["rubric_revision_id"] != rubric["id"]

    def test_outcomes_come_back_with_the_prompts(self, client: Client, parts: dict[str, Any]) -> None:
        rows = client.rows(f"/v1/prompt-sets/{parts['prompt_set']}/prompts")
        assert [row["outcomes"] for row in rows] == [[True, None], []]

    def test_a_replayed_key_is_the_same_run(self, client: Client, parts: dict[str, Any]) -> None:
        body, headers = {"name": "once", **parts}, {"Idempotency-Key": "k"}
        first, again = (client.post("/v1/trajectory-evaluations", body, headers=headers) for _ in range(2))
        assert first["id"] == again["id"]

    def test_the_report_says_how_to_ask_again(self, client: Client, parts: dict[str, Any]) -> None:
        run = create(client, parts, threshold=8.0)
        asked = client.get(f"/v1/runs/{run['id']}/report")["reproduce"][0]
        assert '"threshold":8.0' in asked
        assert asked.endswith('"$RLAIF_URL/v1/trajectory-evaluations"')
        body = json.loads(asked.split("--json '")[1].split("' ")[0])
        assert client.post("/v1/trajectory-evaluations", body)["recipe"] == run["recipe"]


class TestRefused:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"threshold": 0.5}, "threshold"),
            ({"threshold": 11}, "threshold"),
            ({"threshold": "7"}, "threshold"),
            ({"minimum_coverage": 1.5}, "minimum_coverage"),
            ({"seed": -1}, "seed"),
            ({"rubrik": "x"}, "rubrik"),
            ({"budget": {"judge_usd": 0}}, "budget.judge_usd"),
        ],
    )
    def test_bad_input_names_the_field(
        self, client: Client, parts: dict[str, Any], changes: dict[str, Any], field: str
    ) -> None:
        assert create(client, parts, 422, **changes)["field"] == field
        assert client.get("/v1/runs", kind="evaluation")["data"] == []

    @pytest.mark.parametrize("field", ["prompt_set", "judge", "rubric"])
    def test_what_is_not_there(self, client: Client, parts: dict[str, Any], field: str, service: Service) -> None:
        problem = create(client, parts, 404, **{field: "none"})
        assert (problem["code"], problem["field"]) == ("not_found", field)
        theirs = service.client().post("/v1/prompt-sets", {"name": "tasks", "prompts": TASKS})
        assert create(client, parts, 404, prompt_set=theirs["id"])["field"] == "prompt_set"

    def test_prompts_without_candidates(self, client: Client, parts: dict[str, Any]) -> None:
        bare = client.post("/v1/prompt-sets", {"name": "bare", "prompts": [{"prompt": "Why?"}]})
        problem = create(client, parts, 422, prompt_set=bare["id"])
        assert (problem["code"], problem["field"]) == ("nothing_to_rate", "prompt_set")

    def test_more_authors_than_can_be_compared(self, client: Client, parts: dict[str, Any]) -> None:
        tried = [
            {"prompt": f"{place}?", "candidates": ["a", "b"], "authors": [f"a{place}", f"b{place}"]}
            for place in range(26)
        ]
        most = client.post("/v1/prompt-sets", {"name": "25", "prompts": tried[:25]})
        more = client.post("/v1/prompt-sets", {"name": "26", "prompts": tried})
        create(client, parts, prompt_set=most["id"])
        assert create(client, parts, 422, prompt_set=more["id"])["field"] == "prompt_set"

    def test_a_judge_of_pairs_alone(self, client: Client, parts: dict[str, Any]) -> None:
        other = client.post("/v1/judges", {"name": "other", "spec": {**REMOTE, "model": "gpt-6"}})["id"]
        panel = {"kind": "panel", "members": [parts["judge"], other]}
        made = client.post("/v1/judges", {"name": "panel", "spec": panel})
        assert create(client, parts, 422, judge=made["id"])["field"] == "judge"

    def test_a_program_without_checks(self, client: Client, parts: dict[str, Any]) -> None:
        made = client.post("/v1/judges", {"name": "checks", "spec": {"kind": "checks", "family": "checks"}})
        assert create(client, parts, 422, judge=made["id"])["field"] == "judge"

    def test_a_limit_in_money_needs_a_price(self, client: Client, parts: dict[str, Any]) -> None:
        unpriced = client.post("/v1/judges", {"name": "unpriced", "spec": {**REMOTE, "model": "nobody-knows"}})
        problem = create(client, parts, 422, judge=unpriced["id"], budget={"judge_usd": 1.0})
        assert (problem["code"], problem["field"]) == ("not_rating", "judge")

    def test_a_run_cannot_be_made_one(self, client: Client) -> None:
        recipe = {"stop_after": "trajectories", "trajectories": {}}
        assert client.post("/v1/runs", client.request(recipe=recipe), expect=422)["field"] == "recipe.trajectories"

    def test_reading_is_not_enough(self, service: Service) -> None:
        reader = service.client(Scope.READ)
        body = {"name": "n", "prompt_set": "p", "judge": "j"}
        assert reader.post("/v1/trajectory-evaluations", body, expect=403)["code"] == "scope_missing"

    def test_outcomes_must_be_each_candidates(self, client: Client) -> None:
        prompt = {"prompt": "Why?", "candidates": ["a", "b"], "outcomes": [True]}
        problem = client.post("/v1/prompt-sets", {"name": "n", "prompts": [prompt]}, expect=422)
        assert "1 outcomes for 2 candidates" in json.dumps(problem)


def rated(client: Client, run: dict[str, Any]) -> None:
    """As a worker leaves it: the second candidate of the first prompt has one rating only."""
    with client.service.sessions.begin() as session:
        prompts = session.scalars(select(Prompt).where(Prompt.prompt_set_id == run["inputs"]["prompt_set_id"]))
        for prompt in prompts:
            for position in range(len(prompt.candidates)):
                completion = _completion(client, run, prompt, position)
                session.add(completion)
                session.flush()
                for order in Order:
                    points = None if position and order is Order.BA else 9.0 if order is Order.AB else 6.0
                    session.add(_score(client, run, completion.id, order, points))


def _completion(client: Client, run: dict[str, Any], prompt: Prompt, position: int) -> Completion:
    return Completion(
        id=new_id(Kind.COMPLETION),
        project_id=client.project_id,
        run_id=run["id"],
        round=0,
        split=Split(prompt.split),
        source=CompletionSource.IMPORTED,
        prompt_id=prompt.id,
        position=position,
        text="t",
        finish_reason="imported",
    )


def _score(client: Client, run: dict[str, Any], completion_id: str, order: Order, points: float | None) -> Score:
    return Score(
        id=new_id(Kind.SCORE),
        project_id=client.project_id,
        run_id=run["id"],
        completion_id=completion_id,
        judge_id=run["inputs"]["evaluation_judge_id"],
        order=order,
        repeat=0,
        evaluator="task_completion",
        points=points,
        invalid_reason=None if points is not None else InvalidReason.PARSE,
        attempts=1,
    )


class TestOutcomes:
    def test_each_trajectory_with_its_author_points_and_outcome(self, client: Client, parts: dict[str, Any]) -> None:
        run = create(client, parts)
        rated(client, run)
        rows = client.rows(f"/v1/runs/{run['id']}/trajectories", limit=1)
        names = ("external_id", "position", "author", "points", "succeeded", "known")
        assert sorted((tuple(row[name] for name in names) for row in rows), key=lambda row: row[:2]) == [
            ("meal", 0, None, 7.5, True, None),
            ("seat", 0, "new", 7.5, True, True),
            ("seat", 1, None, None, None, None),
        ]

    def test_as_a_file(self, client: Client, parts: dict[str, Any]) -> None:
        run = create(client, parts, threshold=7.6)
        rated(client, run)
        path = f"/v1/runs/{run['id']}/trajectories"
        lines = client.http.get(path, params={"format": "jsonl"}).text.splitlines()
        assert [json.loads(line) for line in lines] == client.rows(path)
        assert {json.loads(line)["succeeded"] for line in lines} == {False, None}
        assert client.http.get(path, params={"format": "parquet"}).content[:4] == b"PAR1"

    def test_of_another_run_there_are_none(self, client: Client, parts: dict[str, Any], service: Service) -> None:
        other = client.run()["id"]
        assert client.get(f"/v1/runs/{other}/trajectory-success")["metrics"] is None
        assert client.rows(f"/v1/runs/{other}/trajectories") == []
        run = create(client, parts)
        for path in ("trajectories", "trajectory-success"):
            assert service.client().get(f"/v1/runs/{run['id']}/{path}", expect=404)["code"] == "not_found"
