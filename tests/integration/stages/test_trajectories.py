"""Whole trajectories as candidates: every turn reaches the judge, notes are kept by turn, and one verdict by pair."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from app.db.ids import Kind, new_id
from app.db.models import Comparison, Completion, RunStatus, Verdict
from app.rlaif.comparison import InvalidReason, Order
from tests.integration.stages.endpoint import RunningJudge
from tests.integration.stages.test_judging import RECIPE
from tests.integration.stages.world import World

GOOD: list[dict[str, Any]] = [
    {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "book", "arguments": {"seat": 4}}}]},
    {"role": "tool", "tool_call_id": "c", "name": "book", "content": "Booked."},
    {"role": "assistant", "content": "Seat 4 is yours. Thank you."},
]
BAD: list[dict[str, Any]] = [
    {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "cancel", "arguments": '{"seat": 4}'}}]},
    {"role": "tool", "tool_call_id": "c", "name": "cancel", "content": "Cancelled."},
    {
        "role": "assistant",
        "content": "Seat 4 is gone, and it goes on and on and on, which is far more than anybody had asked.",
    },
]


@pytest.fixture
def endpoint() -> Iterator[RunningJudge]:
    with RunningJudge() as running:
        yield running


def judged(world: World, endpoint: RunningJudge, *candidates: Any, **spec: Any) -> str:
    """A run over one prompt, driven to its end."""
    prompt = {
        "id": "p",
        "messages": [{"role": "user", "content": f"A seat, please. {new_id(Kind.PROMPT)}"}],
        "tools": [{"type": "function", "function": {"name": "book", "parameters": {}}}],
        "cohort": "agents",
        "split": "train",
        "candidates": list(candidates),
    }
    judge = world.add_judge(endpoint.spec(**({"max_tokens": 256, "top_logprobs": None} | spec)))
    recipe = RECIPE | {"judge": {"minimum_coverage": 0.0}}
    return world.drive(world.add_run(recipe, world.add_prompts([prompt]), judge=judge)).id


def test_the_judge_sees_every_turn(world: World, endpoint: RunningJudge) -> None:
    judged(world, endpoint, GOOD, BAD)
    shown = endpoint.judge.bodies[0]["messages"][1]["content"]
    assert '{"tool": "book", "arguments": {"seat": 4}}' in shown
    assert '"turn": 2, "role": "tool", "name": "book", "content": "Booked."' in shown
    assert "Seat 4 is yours" in shown


def test_one_verdict_for_the_whole_with_notes_on_turns(world: World, endpoint: RunningJudge) -> None:
    run_id = judged(world, endpoint, GOOD, BAD)
    verdicts = world.rows(Verdict, run_id)
    assert [verdict.invalid_reason for verdict in verdicts] == [None, None]
    shown_first = {Order.AB: "first", Order.BA: "second"}  # the endpoint remarks on turn 1 of what it calls A
    for verdict in verdicts:
        assert verdict.notes == [{"side": shown_first[verdict.order], "turn": 1, "note": "Looked at."}]
    (believed,) = world.preferences(run_id).items()
    (_, first, _), row = believed
    assert (row[1] > 0.5) is (first == 0)


def test_another_argument_is_another_question(world: World, endpoint: RunningJudge) -> None:
    changed = deepcopy(GOOD)
    changed[0]["tool_calls"][0]["function"]["arguments"] = {"seat": 5}
    run_id = judged(world, endpoint, GOOD, changed)
    assert len(world.rows(Comparison, run_id)) == 1
    assert len({verdict.prompt_hash for verdict in world.rows(Verdict, run_id)}) == 2
    assert len(endpoint.judge.calls) == 2


def test_equal_trajectories_are_not_asked(world: World, endpoint: RunningJudge) -> None:
    judged(world, endpoint, GOOD, deepcopy(GOOD))
    assert endpoint.judge.calls == []


def test_stored_as_turns_and_as_text(world: World, endpoint: RunningJudge) -> None:
    run_id = judged(world, endpoint, GOOD, "No.")
    whole, text = sorted(world.rows(Completion, run_id), key=lambda row: row.position)
    assert whole.turns == GOOD
    assert [json.loads(line)["role"] for line in whole.text.splitlines()] == ["assistant", "tool", "assistant"]
    assert (text.turns, text.text) == (None, "No.")


def test_notes_that_are_about_no_turn_are_not_read(world: World, endpoint: RunningJudge) -> None:
    endpoint.judge.script.faults.extend(["note-on-no-turn"] * 2)
    run_id = judged(world, endpoint, GOOD, BAD, max_concurrency=1)
    assert [row.invalid_reason for row in world.rows(Verdict, run_id)].count(InvalidReason.PARSE) == 1


def test_a_schema_holds_the_notes_too(world: World, endpoint: RunningJudge) -> None:
    run_id = judged(world, endpoint, GOOD, BAD, answer_format="json_schema")
    schema = endpoint.judge.bodies[0]["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["notes", "answer"]
    assert all(verdict.notes for verdict in world.rows(Verdict, run_id))


def test_a_run_that_only_judges_succeeds(world: World, endpoint: RunningJudge) -> None:
    run_id = judged(world, endpoint, GOOD, BAD)
    (status,) = {world.drive(run_id).status}
    assert status is RunStatus.SUCCEEDED
