"""Trajectory evaluations through the real stage: whole trajectories rated once, whatever interrupts it."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator
from math import comb
from pathlib import Path
from typing import Any

import pytest

from app.db.models import Completion, Run, RunStatus, Score
from app.report_page import as_html
from app.rlaif.recipe import StageKind
from app.rlaif.report_text import as_markdown
from app.rlaif.trajectory_evidence import TrajectoryMetrics
from app.services import engine, reports
from tests.integration.stages.endpoint import RunningJudge
from tests.integration.stages.test_trajectories import BAD, GOOD
from tests.integration.stages.world import World

TAU = Path(__file__).parents[4] / "shared" / "data" / "tau_airline_trajectories.jsonl.gz"
TOOLS = [{"type": "function", "function": {"name": "book", "parameters": {}}}]
UNCLEAR = [{"role": "assistant", "content": "[[fault:prose]] Whatever."}]


@pytest.fixture
def endpoint() -> Iterator[RunningJudge]:
    with RunningJudge() as running:
        yield running


def task(place: int, *candidates: Any, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"seat-{place}",
        "messages": [{"role": "user", "content": f"Seat {place}, please."}],
        "tools": TOOLS,
        "cohort": "booking" if place % 2 else "service",
        "split": "held_out" if place == 0 else "train",
        "candidates": list(candidates),
    } | changes


TASKS = [
    task(0, GOOD, GOOD, BAD, BAD, authors=["new", "new", "old", "old"], outcomes=[True, True, False, True]),
    task(1, GOOD, BAD, BAD, BAD, authors=["new", "new", "old", "old"], outcomes=[True, False, False, None]),
    task(2, GOOD, authors=["new"], outcomes=[True]),
]


def start(world: World, asked: str, tasks: list[dict[str, Any]] = TASKS, **recipe: Any) -> str:
    known = {"stop_after": "trajectories", "trajectories": {}, "sample": {"source": "prompt_set"}}
    return world.add_run(known | recipe, world.add_prompts(tasks), evaluation_judge=asked)


def metrics(world: World, run_id: str) -> TrajectoryMetrics:
    run = world.get(Run, run_id)
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
    return TrajectoryMetrics.model_validate(world.stage(run_id, StageKind.TRAJECTORIES).metrics)


def rate(world: World, judge: str, tasks: list[dict[str, Any]] = TASKS, **recipe: Any) -> TrajectoryMetrics:
    return metrics(world, world.drive(start(world, judge, tasks, **recipe)).id)


def values(found: list[Any]) -> list[float]:
    return [each.value.value for each in found]


class TestRated:
    def test_by_author_with_both_presentations(self, world: World, endpoint: RunningJudge) -> None:
        judge = world.add_judge(endpoint.spec())
        run_id = world.drive(start(world, judge)).id
        found = metrics(world, run_id)
        new, old = found.authors
        assert (new.author, new.success.trajectories, new.success.prompts) == ("new", 5, 3)
        assert values(new.pass_hat) == pytest.approx([(1 + 0.5 + 1) / 3, 1 / 2])
        assert [each.left_out for each in new.pass_hat] == [0, 1]
        assert (old.author, values(old.pass_hat)) == ("old", [0.0, 0.0])
        assert set(new.by_cohort) == {"booking", "service"}
        (difference,) = found.differences
        assert (difference.first, difference.difference.value, difference.difference.n) == ("new", 0.75, 2)
        assert (found.evaluator, found.version, found.coverage, found.judge_id) == ("task_completion", 1, 1.0, judge)
        assert (
            len(world.rows(Score, run_id))
            == 2 * 9
            == len(endpoint.judge.calls) + sum(row.cached for row in world.rows(Score, run_id))
        )

    def test_the_judge_against_what_is_known(self, world: World, endpoint: RunningJudge) -> None:
        gold = rate(world, world.add_judge(endpoint.spec())).overall.gold
        assert gold is not None
        assert gold.accuracy is not None
        assert (gold.accuracy.value, gold.accuracy.n) == (7 / 8, 8)
        assert (gold.false_successes, gold.false_failures) == (0, 1)

    def test_the_judge_sees_every_turn_and_the_built_in_rubric(self, world: World, endpoint: RunningJudge) -> None:
        rate(world, world.add_judge(endpoint.spec()), TASKS[2:])
        shown = endpoint.judge.bodies[-1]["messages"][1]["content"]
        assert '{"tool": "book", "arguments": {"seat": 4}}' in shown
        assert "does what was asked" in shown

    def test_a_rubric_of_ones_own(self, world: World, endpoint: RunningJudge) -> None:
        own = {"criteria": [{"name": "courtesy", "description": "The agent thanks the customer by name."}]}
        config = {"rubric": world.add_rubric(own), "threshold": 9.5}
        found = rate(world, world.add_judge(endpoint.spec()), trajectories=config)
        assert "courtesy" in endpoint.judge.bodies[-1]["messages"][1]["content"]
        assert (found.version, found.threshold) == (0, 9.5)
        assert found.overall.success.rate is not None
        assert found.overall.success.rate.value == 0.0  # the endpoint's expected points stay below

    def test_a_program_rates_as_well(self, world: World) -> None:
        polite = {"name": "polite", "description": "Thanks.", "check": {"kind": "words", "any_of": ["thank you"]}}
        judge = world.add_judge({"kind": "checks", "family": "checks", "criteria": [polite]})
        assert values(rate(world, judge).authors[0].pass_hat) == pytest.approx([(1 + 0.5 + 1) / 3, 1 / 2])


class TestReport:
    def test_it_tells_who_succeeds_and_how_far_the_judge_is_right(self, world: World, endpoint: RunningJudge) -> None:
        judge = world.add_judge(endpoint.spec())
        run_id = world.drive(start(world, judge)).id
        with world.sessions() as session:
            report = reports.get(session, world.project, run_id)
        assert report.headline.sentence.startswith("Of 9 trajectories 44.4% succeed (95% interval ")
        text = as_markdown(report)
        assert "## Trajectories" in text
        assert "| new | 2 | 0.500 |" in text.replace("\\", "")
        assert "| all | 0.875 |" in text.replace("\\", "")
        page = as_html(report)
        assert "pass^k, new" in page
        assert report.reproduce[1].endswith(f'/v1/runs/{run_id}/trajectories?format=jsonl"')

    def test_without_one_rating_it_says_so(self, world: World, endpoint: RunningJudge) -> None:
        judge = world.add_judge(endpoint.spec())
        run_id = world.drive(start(world, judge, [task(1, UNCLEAR)], judge={"minimum_coverage": 0.0})).id
        with world.sessions() as session:
            report = reports.get(session, world.project, run_id)
        assert report.headline.sentence.startswith("None of 1 trajectories was judged")
        assert "## Trajectories" in as_markdown(report)
        assert "## Trajectories" not in as_html(report)


class TestMissing:
    def test_an_unreadable_rating_is_no_failure(self, world: World, endpoint: RunningJudge) -> None:
        tasks = [task(1, GOOD, UNCLEAR), task(2, GOOD)]
        run_id = start(world, world.add_judge(endpoint.spec()), tasks, judge={"minimum_coverage": 0.0})
        found = metrics(world, world.drive(run_id).id).overall
        assert (found.success.missing, found.success.trajectories) == (1, 3)
        assert found.success.rate is not None
        assert (found.success.rate.value, found.success.rate.n) == (1.0, 2)
        assert [each.k for each in found.pass_hat] == [1]

    def test_too_many_of_them_end_the_run_and_are_shown(self, world: World, endpoint: RunningJudge) -> None:
        run = world.drive(start(world, world.add_judge(endpoint.spec()), [task(1, GOOD, UNCLEAR)]))
        assert (run.status, (run.error or {})["code"]) == (RunStatus.FAILED, "coverage_below_floor")
        assert world.stage(run.id, StageKind.TRAJECTORIES).metrics["coverage"] == 0.5

    def test_a_retry_asks_again_what_the_server_left_open(self, world: World, endpoint: RunningJudge) -> None:
        endpoint.judge.script.faults.extend(["500"] * 2)
        judge = world.add_judge(endpoint.spec(max_concurrency=1))
        run_id = world.drive(start(world, judge, [task(7, GOOD), task(8, GOOD)], judge={"cache": False})).id
        assert world.get(Run, run_id).status is RunStatus.FAILED
        calls = len(endpoint.judge.calls)
        with world.sessions.begin() as session:
            engine.retry(session, session.get_one(Run, run_id))
        world.drive(run_id)
        assert metrics(world, run_id).coverage == 1.0
        assert len(endpoint.judge.calls) - calls == 2


class TestInterrupted:
    def test_killed_anywhere_nothing_is_rated_twice(self, world: World, endpoint: RunningJudge) -> None:
        judge = world.add_judge(endpoint.spec())
        whole = rate(world, judge)
        sample = {"source": "prompt_set", "prompts_per_shard": 1}
        run_id = start(world, judge, sample=sample, judge={"cache": False, "prompts_per_shard": 1})
        assert world.drive_killed(run_id) >= 6
        assert metrics(world, run_id) == whole
        rows = world.rows(Score, run_id)
        assert len({(row.completion_id, row.order) for row in rows}) == len(rows) == 18
        assert len(world.rows(Completion, run_id)) == 9

    def test_a_budget_pauses_it(self, world: World, endpoint: RunningJudge) -> None:
        judge = world.add_judge(endpoint.spec())
        tasks = [task(place, GOOD) for place in range(20)]
        run = world.drive(start(world, judge, tasks, judge={"cache": False}, budget={"judge_usd": 0.5}))
        assert run.status is RunStatus.PAUSED
        assert len(endpoint.judge.calls) < 40


@pytest.mark.skipif(not TAU.exists(), reason="tau-bench's trajectories stand beside the project, not in it")
def test_tau_bench_as_known_and_as_judged(world: World) -> None:
    """100 real trajectories with tool calls; a program judges, and what is known is counted by hand here."""
    with gzip.open(TAU, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    trials: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        trials[str(row["task_id"])].append(row)
    judge = world.add_judge({"kind": "checks", "family": "checks", "criteria": [BRIEF]})
    found = rate(world, judge, [_tau_task(id_, tried) for id_, tried in trials.items()]).overall
    assert (found.success.trajectories, found.success.prompts, found.success.missing) == (100, 25, 0)
    assert found.gold is not None
    succeeded = [sum(row["reward"] == 1.0 for row in tried) for tried in trials.values()]
    by_hand = [sum(comb(c, k) for c in succeeded) / (25 * comb(4, k)) for k in (1, 2, 3, 4)]
    assert values(found.gold.known_pass_hat) == pytest.approx(by_hand)
    assert by_hand[0] == pytest.approx(sum(succeeded) / 100)
    assert by_hand == sorted(by_hand, reverse=True)


BRIEF = {
    "name": "brief",
    "description": "The conversation is brief.",
    "check": {"kind": "length", "unit": "words", "maximum": 400},
}


def _tau_task(id_: str, tried: list[dict[str, Any]]) -> dict[str, Any]:
    """What all trials begin with is the prompt."""
    start = next(place for place, turn in enumerate(tried[0]["messages"]) if turn["role"] == "assistant")
    return {
        "id": id_,
        "messages": tried[0]["messages"][:start],
        "cohort": "airline",
        "split": "held_out",
        "candidates": [row["messages"][start:] for row in tried],
        "authors": ["agent"] * len(tried),
        "outcomes": [row["reward"] == 1.0 for row in tried],
    }
