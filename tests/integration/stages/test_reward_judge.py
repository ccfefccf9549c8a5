"""A published reward model as a run's judge: on the gpu queue, verified before it is read, and its teachers count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.db.ids import Kind, new_id
from app.db.models import Checkpoint, CheckpointKind, Judge, Outbox, RunStatus, Shard, Verdict
from app.rlaif.comparison import Answer
from app.services.independence import with_teachers
from app.storage import MANIFEST
from tests.integration.stages.test_judging import RECIPE, prompts_with
from tests.integration.stages.world import EXAMPLES, World

TEXTS = ("Thank you for asking. It is so.", "It is so.", "No.")
PROMPTS = 2


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example model with a random scalar head."""
    from workers.training.checkpoint import load_scalar_model, save_model  # torch

    directory = tmp_path_factory.mktemp("reward") / "model"
    untrained = load_scalar_model(EXAMPLES / "base_model", seed=1)
    save_model(untrained.model, untrained.tokenizer, directory, base_dir=EXAMPLES / "base_model")
    return directory


def add_judge(world: World, directory: Path) -> tuple[str, str]:
    """A judge of the published model, and where that lies; the world's own judge taught it."""
    taught = world.add_run(RECIPE, world.add_prompts(prompts_with(*TEXTS, count=1)))
    id_ = new_id(Kind.CHECKPOINT)
    manifest = world.store.publish(f"checkpoints/{id_}", directory)
    row: dict[str, Any] = {
        "id": id_,
        "project_id": world.project,
        "run_id": taught,
        "round": 0,
        "kind": CheckpointKind.REWARD_MODEL,
        "step": 1,
        "storage_key": f"checkpoints/{id_}",
        "manifest": manifest.as_dict(),
        "digest": manifest.digest,
        "size_bytes": manifest.size,
        "metrics": {},
        "lineage": {"judges": [world.judge]},
    }
    spec = {"kind": "reward_model", "family": "example", "checkpoint": id_, "batch_size": 4}
    with world.sessions.begin() as session:
        session.add(Checkpoint(**row))
    judge = world.add_judge(spec)
    with world.sessions.begin() as session:
        session.get_one(Judge, judge).checkpoint_id = id_
    return judge, f"checkpoints/{id_}"


def test_it_judges_every_pair_alike_in_both_orders(world: World, reward_model: Path) -> None:
    judge, _ = add_judge(world, reward_model)
    run = world.drive(world.add_run(RECIPE, world.add_prompts(prompts_with(*TEXTS, count=PROMPTS)), judge=judge))
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
    verdicts = world.rows(Verdict, run.id)
    assert len(verdicts) == PROMPTS * 3 * 2
    assert Answer.INVALID not in {verdict.answer for verdict in verdicts}
    by_comparison: dict[str, set[float]] = {}
    for verdict in verdicts:
        by_comparison.setdefault(verdict.comparison_id, set()).add(round(float(verdict.probability or 0.0), 5))
        assert set(verdict.scores or {}) == {"reward"}
    assert {len(found) for found in by_comparison.values()} == {1}


def test_its_shards_go_where_the_accelerator_is(world: World, reward_model: Path) -> None:
    judge, _ = add_judge(world, reward_model)
    run_id = world.add_run(RECIPE, world.add_prompts(prompts_with(*TEXTS, count=PROMPTS)), judge=judge)
    world.work_off(world.next_shard(run_id) or "")  # the import
    with world.sessions() as session:
        rung = select(Outbox.queue).join(Shard, Shard.id == Outbox.shard_id).where(Shard.id == world.next_shard(run_id))
        assert set(session.scalars(rung)) == {"gpu"}


def test_damaged_weights_fail_the_run(world: World, reward_model: Path) -> None:
    judge, key = add_judge(world, reward_model)
    files = (path for path in world.store.path(key).iterdir() if path.name != MANIFEST)
    file = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    run = world.drive(world.add_run(RECIPE, world.add_prompts(prompts_with(*TEXTS, count=PROMPTS)), judge=judge))
    assert (run.error or {})["code"] == "artifact_damaged"
    assert world.rows(Verdict, run.id) == []


def test_those_who_taught_it_count_with_it(world: World, reward_model: Path) -> None:
    judge, _ = add_judge(world, reward_model)
    with world.sessions() as session:
        found = with_teachers(session, [session.get_one(Judge, judge)])
        assert [each.id for each in found] == [judge, world.judge]
        assert with_teachers(session, [session.get_one(Judge, world.judge)]) == [session.get_one(Judge, world.judge)]
