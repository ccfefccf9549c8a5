"""A whole run on the example model: every stage of it leaves what the next one needs, and its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from app.db.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    Completion,
    CompletionSource,
    Evaluation,
    Model,
    Preference,
    Purpose,
    Run,
    RunStatus,
    Split,
    Verdict,
)
from app.rlaif.evidence import EvaluationMetrics, JudgeMetrics, PreferenceMetrics, RewardModelMetrics
from app.rlaif.recipe import StageKind
from tests.integration.stages.world import World, example_prompts

TRAIN, HELD_OUT = 12, 6
RECIPE: dict[str, Any] = {
    "seed": 7,
    "sample": {
        "completions": 3,
        "held_out_completions": 2,
        "max_new_tokens": 32,
        "batch_size": 16,
        "prompts_per_shard": 8,
    },
    "judge": {"prompts_per_shard": 8},
    "prefer": {"max_length": 256},
    "reward_model": {"learning_rate": 5e-4, "epochs": 1, "batch_size": 8, "max_length": 256},
    "policy": {"learning_rate": 1e-4, "epochs": 1, "batch_size": 8, "max_length": 256},
    "evaluate": {"bootstrap_samples": 200},
}


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    world: World
    run: Run

    def rows(self, table: type[Any], **where: Any) -> list[Any]:
        return self.world.rows(table, self.run.id, **where)

    def metrics(self, kind: StageKind) -> dict[str, Any]:
        return self.world.stage(self.run.id, kind).metrics


@pytest.fixture(scope="module")
def finished(world: World) -> Finished:
    prompts = world.add_prompts(example_prompts(train=TRAIN, held_out=HELD_OUT))
    return Finished(world, world.drive(world.add_run(RECIPE, prompts)))


class TestWholeRun:
    def test_it_succeeds(self, finished: Finished) -> None:
        assert (finished.run.status, finished.run.error) == (RunStatus.SUCCEEDED, None)
