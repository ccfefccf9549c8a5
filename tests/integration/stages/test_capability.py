"""Capability tasks in a run: asked of base model and policy once each, compared by document, and gated."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app.db.models import Evaluation, Model, Run, RunStatus, Task, TaskOutcome
from app.db.session import WriteSession
from app.rlaif.evidence import EvaluationMetrics
from app.rlaif.pipeline import PhaseName
from app.rlaif.recipe import StageKind
from app.rlaif.task import TaskConfig
from app.services import tasks
from tests.integration.stages.in_process import Watch
from tests.integration.stages.test_chain import RECIPE
from tests.integration.stages.world import World, example_prompts
from workers.stages import capability
from workers.stages.contract import GiveBack

TASKS = Path(__file__).parents[3] / "examples" / "tasks"
NAMES = ("facts", "definitions", "on-topic")
REUSED = (StageKind.SAMPLE, StageKind.JUDGE, StageKind.PREFER, StageKind.REWARD_MODEL, StageKind.POLICY)


@dataclass(frozen=True)
class Evaluated:
    """A run that named tasks, and its evaluation."""

    world: World
    run: Run
    metrics: EvaluationMetrics


def add_task(world: World, name: str, **changes: Any) -> str:
    body = json.loads((TASKS / f"{name}.json").read_text())
    config = TaskConfig.model_validate({**body["config"], **changes})
    with world.sessions.begin() as session:
        found = tasks.create(
            WriteSession(session), world.project, name=config.task, config=config, documents=body["documents"]
        )
        return found.id


def recipe(**evaluate: Any) -> dict[str, Any]:
    return {**RECIPE, "evaluate": {**RECIPE["evaluate"], **evaluate}}


@pytest.fixture(scope="module")
def evaluated(world: World) -> Evaluated:
    ids = {name: add_task(world, name) for name in NAMES}
    prompts = world.add_prompts(example_prompts(train=6, held_out=6))
    asked = [ids["facts"], "definitions", "on-topic"]  # by id and by name
    gates = {"maximum_task_regression": {ids["facts"]: 0.0, "on-topic": 1.0}}
    run = world.drive(world.add_run(recipe(tasks=asked, gates=gates), prompts))
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
    (row,) = world.rows(Evaluation, run.id)
    return Evaluated(world, run, EvaluationMetrics.model_validate(row.metrics))


def outcomes(world: World, model_digest: str, tasks: Collection[str]) -> int:
    counted = select(func.count()).select_from(TaskOutcome)
    query = counted.where(TaskOutcome.model_digest == model_digest, TaskOutcome.digest.in_(tasks))
    with world.sessions() as session:
        return session.scalar(query) or 0


class TestRun:
    def test_every_document_is_asked_of_both_models(self, evaluated: Evaluated) -> None:
        found = evaluated.metrics.tasks
        assert [result.documents for result in found.values()] == [40, 40, 40]
        digests = {digest for result in found.values() for digest in (result.base_digest, result.policy_digest)}
        asked = [result.digest for result in found.values()]
        assert [outcomes(evaluated.world, digest, asked) for digest in digests] == [120, 120]

    def test_figures_are_those_of_the_outcomes(self, evaluated: Evaluated) -> None:
        for result in evaluated.metrics.tasks.values():
            for figure in result.figures:
                read = {}
                for side, digest in (("base", result.base_digest), ("policy", result.policy_digest)):
                    query = select(TaskOutcome.scores).where(
                        TaskOutcome.digest == result.digest, TaskOutcome.model_digest == digest
                    )
                    with evaluated.world.sessions() as session:
                        read[side] = [scores[figure.figure] for scores in session.scalars(query)]
                if figure.figure != "perplexity":
                    assert figure.base == pytest.approx(sum(read["base"]) / 40)
                    assert figure.policy == pytest.approx(sum(read["policy"]) / 40)
                assert figure.difference.value == pytest.approx(figure.policy - figure.base)

    def test_the_figures_tell_something(self, evaluated: Evaluated) -> None:
        """The example model knows the examples' subjects: neither nothing nor everything is right."""
        figures = {name: result.figures[0] for name, result in evaluated.metrics.tasks.items()}
        assert 0.3 < figures["on-topic"].base < 1
        assert 1 < figures["definitions"].base < 100

    def test_a_gate_reads_the_first_figure(self, evaluated: Evaluated) -> None:
        promotion = evaluated.metrics.promotion
        assert promotion is not None
        (facts,) = (found.figures[0] for found in evaluated.metrics.tasks.values() if found.figures[0].figure == "acc")
        by_task = {"on-topic" if "'on-topic'" in reason.detail else "facts": reason for reason in promotion.reasons}
        assert {reason.gate for reason in promotion.reasons} == {"maximum_task_regression"}
        assert by_task["facts"].held is (facts.change.high >= 0)
        assert "in acc; the base model has" in by_task["facts"].detail
        assert by_task["on-topic"].held

    def test_the_base_model_is_not_asked_again(self, evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor is a policy, when it is evaluated again."""
        asked: list[str] = []
        answer = capability._answer

        def counted(context: Any, storage_key: str, digest: str, open_tasks: Any) -> None:
            asked.append(digest)
            answer(context, storage_key, digest, open_tasks)

        monkeypatch.setattr(capability, "_answer", counted)
        again = evaluated.world.add_run(
            recipe(tasks=list(NAMES)), evaluated.run.prompt_set_id, reuse=dict.fromkeys(REUSED, evaluated.run.id)
        )
        assert evaluated.world.drive(again).status is RunStatus.SUCCEEDED
        assert asked == []
        (row,) = evaluated.world.rows(Evaluation, again)
        found = EvaluationMetrics.model_validate(row.metrics).tasks
        assert found["definitions"].figures == evaluated.metrics.tasks["definitions"].figures


class TestStop:
    def test_what_was_answered_before_a_stop_is_not_asked_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Stored batch by batch: the next holder of the shard goes on behind the last one."""
        monkeypatch.setattr(capability, "DOCUMENTS_AT_ONCE", 8)
        task = add_task(world, "definitions", task="stopped", target_delimiter="x")
        prompts = world.add_prompts(example_prompts(train=6, held_out=2))
        run_id = world.add_run(recipe(tasks=[task]), prompts)
        while (work := world.claim(shard_of(world, run_id))).phase is not PhaseName.SCORE:
            world.complete(work, world.execute(work))
        base = world.get(Model, world.model).digest

        class OnceStored(Watch):
            """Asks to stop as soon as an outcome is stored."""

            def should_stop(self) -> bool:
                return bool(scored(world, task, base))

        with pytest.raises(GiveBack):
            world.execute(work, progress=OnceStored())
        stored = scored(world, task, base)
        assert 0 < len(stored) < 40
        world.release(work)
        assert world.drive(run_id).status is RunStatus.SUCCEEDED
        after = scored(world, task, base)
        assert len(after) == 40
        assert stored.items() <= after.items()


def scored(world: World, task_id: str, model_digest: str) -> dict[int, datetime]:
    """When each document was answered."""
    with world.sessions() as session:
        digest = session.get_one(Task, task_id).digest
        query = select(TaskOutcome.position, TaskOutcome.created_at).where(
            TaskOutcome.digest == digest, TaskOutcome.model_digest == model_digest
        )
        return {row.position: row.created_at for row in session.execute(query)}


def shard_of(world: World, run_id: str) -> str:
    shard_id = world.next_shard(run_id)
    assert shard_id is not None
    return shard_id
