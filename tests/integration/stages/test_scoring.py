"""Scoring through the real stage: the rewards that the model gives, whatever interrupts it, and nothing twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.db.ids import Kind, new_id
from app.db.models import Checkpoint, CheckpointKind, Completion, Outbox, Prompt, Run, RunStatus, Shard
from app.rlaif.recipe import StageKind
from app.storage import MANIFEST
from tests.integration.stages.in_process import Watch
from tests.integration.stages.world import EXAMPLES, World
from workers.stages.contract import GiveBack
from workers.training.contracts import Conversation

TEXTS = ("Thank you for asking. It is so.", "It is so.", "No.")
MEMBERS = 2


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example model with random scalar heads: an ensemble of two."""
    from workers.training.checkpoint import load_scalar_model, member_directory, save_model  # torch

    directory = tmp_path_factory.mktemp("ensemble") / "model"
    for index in range(MEMBERS):
        untrained = load_scalar_model(EXAMPLES / "base_model", seed=index)
        target = member_directory(directory, index)
        save_model(untrained.model, untrained.tokenizer, target, base_dir=EXAMPLES / "base_model")
    return directory


@pytest.fixture(scope="module")
def checkpoint(world: World, reward_model: Path) -> str:
    return publish(world, reward_model)


def publish(world: World, directory: Path) -> str:
    id_ = new_id(Kind.CHECKPOINT)
    manifest = world.store.publish(f"checkpoints/{id_}", directory)
    row = Checkpoint(
        id=id_,
        project_id=world.project,
        run_id=world.add_run({"stop_after": "prefer"}, world.add_prompts(prompts(1))),
        round=0,
        kind=CheckpointKind.REWARD_MODEL,
        step=1,
        storage_key=f"checkpoints/{id_}",
        manifest=manifest.as_dict(),
        digest=manifest.digest,
        size_bytes=manifest.size,
        metrics={},
        lineage={"judges": []},
    )
    with world.sessions.begin() as session:
        session.add(row)
    return id_


def prompts(count: int, *texts: str, **changes: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": f"p{i}",
            "messages": [{"role": "user", "content": f"Tell me about kite number {i}."}],
            "cohort": "scoring",
            "split": "held_out" if i == count - 1 and count > 1 else "train",
            "candidates": list(texts or TEXTS),
        }
        | changes
        for i in range(count)
    ]


def start(world: World, checkpoint: str, rows: list[dict[str, Any]], *, shard: int = 2048) -> str:
    recipe = {
        "stop_after": "score",
        "score": {"checkpoint": checkpoint, "batch_size": 4, "prompts_per_shard": shard},
    }
    return world.add_run(recipe, world.add_prompts(rows))


def rewards(world: World, run_id: str) -> dict[tuple[str, int], tuple[float | None, float | None]]:
    query = select(Prompt.external_id, Completion.position, Completion.reward, Completion.reward_spread)
    query = query.join(Completion, Completion.prompt_id == Prompt.id).where(Completion.run_id == run_id)
    with world.sessions() as session:
        return {(id_, position): (reward, spread) for id_, position, reward, spread in session.execute(query)}


def by_hand(directory: Path, rows: list[dict[str, Any]]) -> dict[tuple[str, int], tuple[float, float]]:
    """Mean and deviation of the members, one conversation at a time."""
    from workers.training.scoring import Scorer  # torch

    scorer, found = Scorer(directory, batch_size=1), {}
    for row in rows:
        for position, text in enumerate(row["candidates"]):
            (values,) = scorer([Conversation(row["messages"], text)], Watch())
            assert values is not None
            mean = sum(values) / MEMBERS
            found[row["id"], position] = (mean, abs(values[0] - values[1]) / 2)
    return found


def test_every_candidate_gets_the_mean_and_the_spread(world: World, checkpoint: str, reward_model: Path) -> None:
    rows = prompts(4)
    run = world.drive(start(world, checkpoint, rows, shard=2))
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
    expected = by_hand(reward_model, rows)
    assert {key: pytest.approx(value, abs=1e-5) for key, value in expected.items()} == rewards(world, run.id)
    assert len({reward for reward, _ in rewards(world, run.id).values()}) > len(TEXTS)
    assert all(spread for _, spread in rewards(world, run.id).values())
    stage = world.stage(run.id, StageKind.SCORE)
    assert stage.metrics == {"scored": 12, "beyond_window": 0}
    assert (stage.total_shards, stage.done_units) == (3, 4)  # two of train, one of held-out prompts


def test_its_shards_go_where_the_accelerator_is(world: World, checkpoint: str) -> None:
    run_id = start(world, checkpoint, prompts(2))
    with world.sessions() as session:
        queues = session.scalars(
            select(Outbox.queue).join(Shard, Shard.id == Outbox.shard_id).where(Shard.run_id == run_id)
        )
        assert set(queues) == {"gpu"}


def test_what_exceeds_the_window_has_none(world: World, checkpoint: str) -> None:
    run = world.drive(start(world, checkpoint, prompts(1, "So.", "kites and so on " * 2000)))
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
    (short, _), (long, spread) = (rewards(world, run.id)["p0", position] for position in (0, 1))
    assert short is not None
    assert (long, spread) == (None, None)
    assert world.stage(run.id, StageKind.SCORE).metrics == {"scored": 1, "beyond_window": 1}


def test_killed_anywhere_it_ends_with_the_same(world: World, checkpoint: str, reward_model: Path) -> None:
    rows = prompts(3)
    run_id = start(world, checkpoint, rows)
    assert world.drive_killed(run_id) >= 4
    assert world.get(Run, run_id).status is RunStatus.SUCCEEDED
    expected = by_hand(reward_model, rows)
    assert rewards(world, run_id) == {key: pytest.approx(value, abs=1e-5) for key, value in expected.items()}
    assert world.stage(run_id, StageKind.SCORE).metrics["scored"] == 9


def test_what_was_written_is_not_computed_again(world: World, checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that died behind its last commit costs the next one no forward pass, not even the model."""
    run_id = start(world, checkpoint, prompts(1))
    work = world.claim(world.next_shard(run_id) or "")
    world.execute(work)
    world.release(work)
    before = rewards(world, run_id)
    monkeypatch.setattr("workers.stages.score._load", None)  # whoever calls it fails
    work = world.claim(world.next_shard(run_id) or "")
    outcome = world.execute(work)
    world.complete(work, outcome)
    assert rewards(world, run_id) == before
    assert outcome.metrics == {"scored": 3, "beyond_window": 0}


def test_asked_to_stop_it_is_given_back(world: World, checkpoint: str) -> None:
    run_id = start(world, checkpoint, prompts(2))
    work = world.claim(world.next_shard(run_id) or "")
    with pytest.raises(GiveBack, match="stop"):
        world.execute(work, progress=Watch(stop_after=1))
    world.release(work)
    assert world.drive(run_id).status is RunStatus.SUCCEEDED


def test_damaged_weights_fail_the_run(world: World, reward_model: Path) -> None:
    damaged = publish(world, reward_model)
    files = (path for path in world.store.path(f"checkpoints/{damaged}").iterdir() if path.name != MANIFEST)
    file = max((path for path in files if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    run = world.drive(start(world, damaged, prompts(1)))
    assert (run.error or {})["code"] == "artifact_damaged"
    assert all(reward is None for reward, _ in rewards(world, run.id).values())


def test_a_conversation_that_the_template_refuses_fails_the_run(
    world: World, reward_model: Path, tmp_path: Path
) -> None:
    from workers.training.checkpoint import load_scalar_model, save_model  # torch

    loaded = load_scalar_model(reward_model)
    template = loaded.tokenizer.chat_template
    loaded.tokenizer.chat_template = "{% if tools %}{{ raise_exception('no tools here') }}{% endif %}" + template
    save_model(loaded.model, loaded.tokenizer, tmp_path / "model", base_dir=EXAMPLES / "base_model")
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    run = world.drive(start(world, publish(world, tmp_path / "model"), prompts(1, tools=[tool])))
    assert (run.error or {})["code"] == "template_refuses_prompt"
    assert "no tools here" in (run.error or {})["detail"]
