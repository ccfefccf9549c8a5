"""The warm start: whose answers it learns, what is left out, and what a kill does not undo."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from app.db.models import Checkpoint, CheckpointKind, Completion, Prompt, RevisedAnswer, Run, RunStatus, Split
from app.rlaif.critique import CRITIQUE_REQUEST, Ending, draw_principle
from app.rlaif.recipe import StageKind
from app.rlaif.rendering import prompt_hash
from tests.integration.stages.endpoint import RunningJudge
from tests.integration.stages.in_process import Watch
from tests.integration.stages.world import EXAMPLES, World, example_prompts
from tests.scripted_judge import Script, ScriptedJudge
from workers.stages.contract import GiveBack

PRINCIPLES = ["Prefer the answer that thanks the person.", "Prefer the answer that is {short} and {principle} clear."]
TRAINING: dict[str, Any] = {"learning_rate": 3e-4, "epochs": 2, "batch_size": 2, "max_length": 512}
SAMPLE: dict[str, Any] = {
    "completions": 2,
    "held_out_completions": 1,
    "max_new_tokens": 24,
    "batch_size": 3,
    "prompts_per_shard": 4,
}
TAUGHT: dict[str, Any] = {
    "seed": 5,
    "stop_after": "warm_start",
    "sample": SAMPLE,
    "warm_start": {"method": "sft", **TRAINING},
}
REVISED: dict[str, Any] = {
    "seed": 5,
    "stop_after": "warm_start",
    "sample": SAMPLE,
    "warm_start": {"method": "constitutional", "revisions": 2, **TRAINING},
}


@pytest.fixture(scope="module", autouse=True)
def constitution(world: World) -> None:
    content = json.loads((EXAMPLES / "rubric.json").read_text())
    world.rubric = world.add_rubric(content | {"principles": PRINCIPLES})


@pytest.fixture(scope="module")
def prompt_set(world: World) -> str:
    return world.add_prompts(example_prompts(train=5, held_out=2))


@pytest.fixture(scope="module")
def revised(world: World, prompt_set: str) -> Run:
    return world.drive(world.add_run(REVISED, prompt_set))


def warm_start(world: World, run_id: str) -> Checkpoint:
    (checkpoint,) = world.rows(Checkpoint, run_id, kind=CheckpointKind.WARM_START)
    return checkpoint


def steps(world: World, run_id: str) -> dict[tuple[str, int], RevisedAnswer]:
    rows = world.rows(RevisedAnswer, run_id)
    found = {(world.get(Prompt, row.prompt_id).external_id, row.step): row for row in rows}
    assert len(found) == len(rows)
    return found


def content(row: RevisedAnswer) -> tuple[object, ...]:
    return (row.principle, row.critique, row.text, row.finish_reason, row.critique_seed, row.seed, row.tokens)


class TestDemonstrations:
    def test_references_become_more_likely(self, world: World, prompt_set: str) -> None:
        run = world.drive(world.add_run(TAUGHT, prompt_set))
        assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
        checkpoint = warm_start(world, run.id)
        metrics = checkpoint.metrics
        assert (metrics["examples"], metrics["prompts"], metrics["left_out"]) == (5, 5, {})
        assert metrics["after"]["nll"] < metrics["before"]["nll"]
        assert metrics["before"]["answers"] == 2
        assert world.model_of(checkpoint.id).name == f"{run.id}-warm-start"
        assert checkpoint.lineage["demonstrations"] == 5
        assert checkpoint.lineage["judges"] == []
        assert world.store.verify(checkpoint.storage_key).digest == checkpoint.digest

    def test_prompts_that_bring_none_are_counted(self, world: World) -> None:
        prompts = example_prompts(train=4, held_out=1)
        prompts[0] |= {"reference": None}
        prompts[1] |= {"reference": " "}
        run = world.drive(world.add_run(TAUGHT, world.add_prompts(prompts)))
        metrics = warm_start(world, run.id).metrics
        assert (metrics["examples"], metrics["left_out"]) == (2, {"no_demonstration": 2})

    def test_without_any_the_run_is_refused(self, world: World) -> None:
        prompts = [prompt | {"reference": None} for prompt in example_prompts(train=2, held_out=1)]
        run = world.drive(world.add_run(TAUGHT, world.add_prompts(prompts)))
        assert run.error is not None
        assert run.error["code"] == "no_training_data"

    def test_the_preferred_candidate_stands_for_a_reference(self, world: World) -> None:
        brought = {"candidates": ["No.", "Thank you for asking."], "preferences": [{"first": 0, "second": 1}]}
        brought["preferences"] = [{"first": 0, "second": 1, "probability": 0.2}]
        prompts = [prompt | {"reference": None} | brought for prompt in example_prompts(train=3, held_out=1)]
        recipe = TAUGHT | {"warm_start": TAUGHT["warm_start"] | {"demonstrations": "either"}}
        run = world.drive(world.add_run(recipe, world.add_prompts(prompts)))
        assert warm_start(world, run.id).metrics["examples"] == 3


class TestRevisions:
    def test_every_prompt_is_answered_criticised_and_revised(self, world: World, revised: Run) -> None:
        assert (revised.status, revised.error) == (RunStatus.SUCCEEDED, None)
        found = steps(world, revised.id)
        assert len({prompt for prompt, _ in found}) == 5 + 2
        for (prompt, step), row in found.items():
            if step == 0:
                assert (row.principle, row.critique, row.critique_seed) == (None, None, None)
                continue
            assert row.principle == draw_principle(PRINCIPLES, seed=5, prompt=prompt, step=step)
            assert row.finish_reason is Ending.NO_ROOM or row.critique is not None
        assert {row.split for row in found.values()} == {Split.TRAIN, Split.HELD_OUT}

    def test_the_last_revision_is_learned(self, world: World, revised: Run) -> None:
        metrics = warm_start(world, revised.id).metrics
        assert sum(metrics["outcomes"].values()) == metrics["prompts"] == 5
        assert metrics["examples"] + sum(metrics["left_out"].values()) == 5
        assert metrics["before"]["nll"] > 0
        found = steps(world, revised.id)
        for shown in metrics["shown"]:
            texts = [row.text for (prompt, _), row in sorted(found.items(), key=str) if prompt == shown["prompt_id"]]
            assert (shown["before"], shown["after"]) == (texts[0], texts[-1])

    def test_a_run_that_is_killed_writes_the_same(self, world: World, prompt_set: str, revised: Run) -> None:
        run_id = world.add_run(REVISED, prompt_set)
        assert world.drive_killed(run_id) > 6
        expected = {unit: content(row) for unit, row in steps(world, revised.id).items()}
        assert {unit: content(row) for unit, row in steps(world, run_id).items()} == expected
        assert warm_start(world, run_id).digest == warm_start(world, revised.id).digest

    def test_a_stop_keeps_what_is_stored(self, world: World, prompt_set: str) -> None:
        run_id = world.add_run(REVISED, prompt_set)
        work = world.claim(world.next_shard(run_id) or "")
        with pytest.raises(GiveBack):
            world.execute(work, progress=Watch(stop_after_reports=2))
        stored = {row.id for row in world.rows(RevisedAnswer, run_id)}
        assert len(stored) == 4
        world.release(work)
        world.drive(run_id)
        assert stored < {row.id for row in world.rows(RevisedAnswer, run_id)}

    def test_without_room_in_the_window_an_answer_stays_as_it_is(self, world: World) -> None:
        long = "x " * 150 + CRITIQUE_REQUEST
        recipe = REVISED | {"warm_start": REVISED["warm_start"] | {"critique_request": f"{long} {{principle}}" * 5}}
        run = world.drive(world.add_run(recipe, world.add_prompts(example_prompts(train=2, held_out=0))))
        assert run.error is not None
        assert run.error["code"] == "no_training_data"
        endings = {step: row.finish_reason for (_, step), row in steps(world, run.id).items()}
        assert endings[1] is Ending.NO_ROOM


class Critic(ScriptedJudge):
    """Says something else about each answer."""

    def _replied(self, body: dict[str, Any]) -> tuple[str, dict[str, float] | None]:
        return f"It falls short: {prompt_hash(body['messages'])[:8]}.", None


@pytest.fixture
def endpoint() -> Iterator[RunningJudge]:
    with RunningJudge(Critic()) as running:
        yield running


class TestCritic:
    @staticmethod
    def recipe(world: World, endpoint: RunningJudge, **spec: Any) -> dict[str, Any]:
        critic = world.add_judge(endpoint.spec(**spec))
        return REVISED | {"warm_start": REVISED["warm_start"] | {"critic": critic}}

    def test_an_endpoint_criticises_and_the_base_model_revises(
        self, world: World, prompt_set: str, endpoint: RunningJudge
    ) -> None:
        recipe = self.recipe(world, endpoint)
        run = world.drive(world.add_run(recipe, prompt_set))
        assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
        found = steps(world, run.id)
        revised = [row for (_, step), row in found.items() if step > 0]
        assert len(revised) == len(endpoint.judge.calls) > 7
        for row in revised:
            assert (row.critique or "").startswith("It falls short: ")
            assert (row.text is None, row.critique_tokens, row.critique_seed) == (False, 1, None)
        sent = endpoint.judge.bodies[0]["messages"]
        assert (sent[-2]["role"], sent[-1]["role"]) == ("assistant", "user")
        assert sent[-1]["content"].startswith("Read your last answer again")
        stage = world.stage(run.id, StageKind.WARM_START)
        assert (stage.judge_calls, stage.judge_usd > 0) == (len(revised), True)
        assert warm_start(world, run.id).lineage["judges"] == [recipe["warm_start"]["critic"]]

    def test_a_run_that_is_killed_pays_for_no_critique_twice(
        self, world: World, prompt_set: str, endpoint: RunningJudge
    ) -> None:
        recipe = self.recipe(world, endpoint, max_concurrency=1)
        undisturbed = world.drive(world.add_run(recipe, prompt_set))
        asked = len(endpoint.judge.calls)
        run_id = world.add_run(recipe, prompt_set)
        kills = world.drive_killed(run_id)
        expected = {unit: content(row) for unit, row in steps(world, undisturbed.id).items()}
        assert {unit: content(row) for unit, row in steps(world, run_id).items()} == expected
        paid = world.stage(run_id, StageKind.WARM_START).judge_calls
        assert paid == asked
        assert asked <= len(endpoint.judge.calls) - asked <= asked + kills  # one was in flight at each kill

    def test_what_it_does_not_criticise_ends_there(self, world: World, prompt_set: str, endpoint: RunningJudge) -> None:
        endpoint.judge.script = Script(deque(["empty"]), repeat=True)
        run = world.drive(world.add_run(self.recipe(world, endpoint), prompt_set))
        found = steps(world, run.id)
        assert {row.finish_reason for (_, step), row in found.items() if step} == {Ending.NO_CRITIQUE}
        assert {step for _, step in found} == {0, 1}
        assert run.error is not None
        assert run.error["code"] == "no_training_data"

    def test_a_spent_budget_pauses_the_run(self, world: World, prompt_set: str, endpoint: RunningJudge) -> None:
        recipe = self.recipe(world, endpoint, max_concurrency=1) | {"budget": {"judge_usd": 0.05}}
        run = world.drive(world.add_run(recipe, prompt_set))
        assert run.status is RunStatus.PAUSED


class TestRound:
    def test_it_starts_from_the_warm_start_and_is_measured_from_the_base_model(
        self, world: World, prompt_set: str
    ) -> None:
        judged = {"policy": TRAINING | {"max_length": 256}, "prefer": {"max_length": 256}}
        recipe = TAUGHT | judged | {"stop_after": "sample"}
        run = world.drive(world.add_run(recipe, prompt_set))
        plain = world.drive(world.add_run(recipe | {"warm_start": None}, prompt_set))

        def drawn(run_id: str, split: Split) -> list[str]:
            return sorted(row.text for row in world.rows(Completion, run_id, split=split))

        assert drawn(run.id, Split.TRAIN) != drawn(plain.id, Split.TRAIN)
        assert drawn(run.id, Split.HELD_OUT) == drawn(plain.id, Split.HELD_OUT)
        assert world.stage(run.id, StageKind.WARM_START).metrics["examples"] == 5
