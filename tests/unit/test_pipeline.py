"""How stages are cut into phases and phases into shards."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.pipeline import Inputs, PhaseName, Queue, phases, plan
from app.rlaif.recipe import Recipe, StageKind


def inputs(train: int = 10, held_out: int = 4, *, local: bool = False) -> Inputs:
    return Inputs(train_prompts=train, held_out_prompts=held_out, judge_is_local=local, evaluation_judge_is_local=local)


def names(kind: StageKind, recipe: Recipe, given_inputs: Inputs) -> list[PhaseName]:
    return [phase.name for phase in phases(kind, recipe, given_inputs)]


@given(train=st.integers(0, 500), held_out=st.integers(0, 500), size=st.integers(1, 100))
def test_shards_cover_every_prompt_once(train: int, held_out: int, size: int) -> None:
    recipe = Recipe.model_validate({"sample": {"prompts_per_shard": size}})

    shards = plan(StageKind.SAMPLE, PhaseName.SAMPLE, recipe, inputs(train, held_out))

    covered = [
        (shard.payload["split"], position)
        for shard in shards
        for position in range(shard.payload["offset"], shard.payload["offset"] + shard.payload["limit"])
    ]
    wanted = [("train", n) for n in range(train)] + [("held_out", n) for n in range(held_out)]
    assert covered == wanted
    assert [shard.position for shard in shards] == list(range(len(shards)))
    assert all(1 <= shard.units <= size for shard in shards)


@pytest.mark.parametrize("kind", StageKind)
def test_every_stage_has_phases_and_each_is_planned(kind: StageKind) -> None:
    recipe = Recipe()
    for phase in phases(kind, recipe, inputs()):
        assert plan(kind, phase.name, recipe, inputs())


def test_evaluation_samples_and_judges_held_out_prompts_alone() -> None:
    for phase in (PhaseName.SAMPLE, PhaseName.JUDGE):
        shards = plan(StageKind.EVALUATE, phase, Recipe(), inputs(train=1000, held_out=10))
        assert [shard.payload["split"] for shard in shards] == ["held_out"]


def test_imports_sample_only_what_evaluation_compares_with() -> None:
    source = {"source": "prompt_set"}
    evaluated = Recipe.model_validate({"sample": source})
    trained = Recipe.model_validate({"sample": source, "stop_after": "policy"})

    assert names(StageKind.SAMPLE, evaluated, inputs()) == [PhaseName.IMPORT, PhaseName.SAMPLE]
    assert names(StageKind.SAMPLE, evaluated, inputs(held_out=0)) == [PhaseName.IMPORT]
    assert names(StageKind.SAMPLE, trained, inputs()) == [PhaseName.IMPORT]
    shards = plan(StageKind.SAMPLE, PhaseName.SAMPLE, evaluated, inputs())
    assert {shard.payload["split"] for shard in shards} == {"held_out"}


def test_local_judges_need_the_gpu_queue() -> None:
    def queue(*, local: bool) -> Queue:
        return phases(StageKind.JUDGE, Recipe(), inputs(local=local))[0].queue

    assert (queue(local=True), queue(local=False)) == (Queue.GPU, Queue.IO)


CALIBRATION = {"sample": {"source": "prompt_set"}, "stop_after": "calibrate"}


@pytest.mark.parametrize(
    ("calibrate", "ranges"),
    [
        ({}, [("train", 10), ("held_out", 4)]),
        ({"split": "held_out"}, [("held_out", 4)]),
        ({"split": "train", "limit": 3}, [("train", 3)]),
        ({"limit": 12}, [("train", 10), ("held_out", 2)]),
        ({"limit": 500}, [("train", 10), ("held_out", 4)]),
    ],
)
def test_a_calibration_works_on_the_first_prompts_of_its_splits(
    calibrate: dict[str, Any], ranges: list[tuple[str, int]]
) -> None:
    recipe = Recipe.model_validate(CALIBRATION | {"calibrate": calibrate})
    assert recipe.stages() == (StageKind.SAMPLE, StageKind.JUDGE, StageKind.CALIBRATE)
    assert names(StageKind.SAMPLE, recipe, inputs()) == [PhaseName.IMPORT]
    for kind, phase in ((StageKind.SAMPLE, PhaseName.IMPORT), (StageKind.JUDGE, PhaseName.JUDGE)):
        shards = plan(kind, phase, recipe, inputs(train=10, held_out=4))
        assert [(shard.payload["split"], shard.units) for shard in shards] == ranges


def test_only_a_calibration_calibrates() -> None:
    assert StageKind.CALIBRATE not in Recipe().stages()
