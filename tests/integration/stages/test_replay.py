"""The judge stage with a judge that replays uploaded answers, named by the prompts' own ids and candidates."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from itertools import combinations
from typing import Any

from app.db.ids import Kind, new_id
from app.db.models import RunStatus, Verdict
from app.db.session import WriteSession
from app.rlaif.comparison import Answer, InvalidReason
from app.services import answer_sets
from app.storage import MANIFEST
from tests.integration.stages.test_judging import RECIPE, prompts_with
from tests.integration.stages.world import World

TEXTS = ("one", "two", "three")
PROMPTS = 3


def add_answers(world: World, rows: Iterable[dict[str, Any]]) -> str:
    content = io.BytesIO("".join(json.dumps(row) + "\n" for row in rows).encode())
    with world.sessions.begin() as session:
        return answer_sets.upload(
            WriteSession(session),
            world.project,
            store=world.store,
            name=new_id(Kind.ANSWER_SET),
            content=content,
            max_line=10_000,
            max_total=1_000_000,
        ).id


def replayed(world: World, answers: str) -> str:
    """A run that was driven to its end."""
    judge = world.add_judge({"kind": "replay", "family": "gpt", "answers": answers})
    run_id = world.add_run(RECIPE, world.add_prompts(prompts_with(*TEXTS, count=PROMPTS)), judge=judge)
    world.drive(run_id)
    return run_id


def lower_is_better() -> list[dict[str, Any]]:
    """The candidate of the lower place wins in both orders, told from either side."""
    return [
        {
            "prompt_id": f"p{number}",
            "first": first if told else second,
            "second": second if told else first,
            "order": order,
            "answer": "A" if told else "B",
            "probability": 0.9 if told else 0.1,
        }
        for number in range(PROMPTS)
        for first, second in combinations(range(len(TEXTS)), 2)
        for order, told in (("AB", True), ("AB", False))
    ]


class TestReplayedRun:
    def test_answers_find_their_candidates_whichever_side_they_were_told_from(self, world: World) -> None:
        run_id = replayed(world, add_answers(world, lower_is_better()))
        believed = world.preferences(run_id)
        assert len(believed) == PROMPTS * 3
        assert {(first < second, round(row[1], 6)) for (_, first, second), row in believed.items()} == {
            (True, 0.9),
            (False, 0.1),
        }
        assert sum(verdict.cost_usd for verdict in world.rows(Verdict, run_id)) == 0

    def test_what_has_no_answer_is_missing(self, world: World) -> None:
        run_id = replayed(world, add_answers(world, lower_is_better()[:-1]))
        missing = [row for row in world.rows(Verdict, run_id) if row.answer is Answer.INVALID]
        assert [row.invalid_reason for row in missing] == [InvalidReason.SERVER]
        assert [row[3] for row in world.preferences(run_id).values() if row[3] is not None] == ["one_order"]

    def test_a_damaged_file_fails_the_run(self, world: World) -> None:
        answers = add_answers(world, lower_is_better()[:2])  # of its own: equal answers are one file
        with world.sessions() as session:
            key = answer_sets.get(session, world.project, answers).storage_key
        (file,) = (path for path in world.store.path(key).iterdir() if path.name != MANIFEST)
        file.write_bytes(file.read_bytes().replace(b'"A"', b'"B"', 1))
        judge = world.add_judge({"kind": "replay", "family": "gpt", "answers": answers})
        run = world.drive(world.add_run(RECIPE, world.add_prompts(prompts_with(*TEXTS)), judge=judge))
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error["code"] == "artifact_damaged"
