"""The sample stage when it is stopped or killed: a completion depends on its unit alone, and is drawn once."""

from __future__ import annotations

from typing import Any

import pytest

from app.db.models import Completion, Prompt, RunStatus, Split
from app.rlaif.seeds import derive_seed
from tests.integration.stages.in_process import Watch
from tests.integration.stages.world import World, example_prompts
from workers.stages.contract import GiveBack

BATCH = 4
RECIPE: dict[str, Any] = {
    "seed": 11,
    "stop_after": "sample",
    "sample": {
        "completions": 2,
        "held_out_completions": 1,
        "max_new_tokens": 16,
        "batch_size": BATCH,
        "prompts_per_shard": 6,
    },
}
UNITS = 6 * 2 + 2


@pytest.fixture(scope="module")
def prompt_set(world: World) -> str:
    return world.add_prompts(example_prompts(train=6, held_out=2))


@pytest.fixture(scope="module")
def undisturbed(world: World, prompt_set: str) -> str:
    return world.drive(world.add_run(RECIPE, prompt_set)).id


def drawn(world: World, run_id: str) -> dict[tuple[str, int], tuple[str, int | None]]:
    return {(row.prompt_id, row.position): (row.text, row.seed) for row in world.rows(Completion, run_id)}


def test_seeds_are_those_of_the_units(world: World, undisturbed: str) -> None:
    rows = world.rows(Completion, undisturbed)
    assert len(rows) == UNITS
    for row in rows:
        prompt = world.get(Prompt, row.prompt_id)
        assert row.seed == derive_seed(11, 0, row.split, row.source, prompt.external_id, row.position)
        assert row.split is prompt.split
        assert row.finish_reason in ("stop", "length")
        assert row.prompt_tokens is not None
        assert row.tokens is not None
        assert 0 < row.tokens <= 16


def test_a_stop_keeps_whole_batches_and_the_rest_is_drawn_alike(
    world: World, prompt_set: str, undisturbed: str
) -> None:
    run_id = world.add_run(RECIPE, prompt_set)
    work = world.claim(world.next_shard(run_id) or "")
    with pytest.raises(GiveBack):
        world.execute(work, progress=Watch(stop_after_reports=1))
    stored = drawn(world, run_id)
    assert len(stored) == BATCH
    world.release(work)
    assert world.drive(run_id).status is RunStatus.SUCCEEDED
    assert drawn(world, run_id) == drawn(world, undisturbed)
    assert stored.items() <= drawn(world, run_id).items()


def test_killed_at_every_transaction_it_draws_the_same(world: World, prompt_set: str, undisturbed: str) -> None:
    run_id = world.add_run(RECIPE, prompt_set)
    assert world.drive_killed(run_id) >= 3
    assert drawn(world, run_id) == drawn(world, undisturbed)


def test_done_twice_it_loads_no_model_and_draws_nothing(
    world: World, prompt_set: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = world.add_run(RECIPE, prompt_set)
    work = world.claim(world.next_shard(run_id) or "")
    outcome = world.execute(work)
    before = [row.id for row in world.rows(Completion, run_id, split=Split.TRAIN)]
    monkeypatch.setattr("workers.sampling.transformers.TransformersSampler", None)
    assert world.execute(work) == outcome
    assert [row.id for row in world.rows(Completion, run_id)] == before
    monkeypatch.undo()
    world.release(work)
    assert world.drive(run_id).status is RunStatus.SUCCEEDED
