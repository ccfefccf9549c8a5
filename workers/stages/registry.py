"""Which function runs which stage. Names, not functions: they are imported in the child alone.

A deployment that has stages of its own names its mapping in RLAIF_STAGE_REGISTRY.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from app.rlaif.recipe import StageKind
from workers.stages.contract import StageFunction

STAGES: Mapping[StageKind, str] = {
    StageKind.WARM_START: "workers.stages.warm_start:run",
    StageKind.SAMPLE: "workers.stages.sample:run",
    StageKind.JUDGE: "workers.stages.judge:run",
    StageKind.CALIBRATE: "workers.stages.calibrate:run",
    StageKind.PREFER: "workers.stages.prefer:run",
    StageKind.REWARD_MODEL: "workers.stages.reward_model:run",
    StageKind.POLICY: "workers.stages.policy:run",
    StageKind.EVALUATE: "workers.stages.evaluate:run",
    StageKind.SCORE: "workers.stages.score:run",
    StageKind.TRAJECTORIES: "workers.stages.trajectories:run",
}


def stage_function(registry: str, kind: StageKind) -> StageFunction:
    """The function that the registry at `module:name` gives for a stage, whatever its phase."""
    stages: Mapping[StageKind, str] = _named(registry)
    return cast(StageFunction, _named(stages[kind]))


def _named(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
