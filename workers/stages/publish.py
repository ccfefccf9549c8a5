"""Publishes what a training stage made: the directory first, whole or not at all; then the row that makes it count."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Checkpoint, CheckpointKind, Model, ModelKind
from app.repositories.checkpoints import CheckpointRow, latest_checkpoint
from app.repositories.run_inputs import ModelRow, members
from app.repositories.units import add_missing
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.sweep import candidates
from app.rlaif.warm_start import ConstitutionalConfig
from app.storage import ArtifactStore, Manifest
from workers.stages.alarms import raised
from workers.stages.card import write_card
from workers.stages.contract import ShardWork, StageContext
from workers.stages.inputs import StageInputs
from workers.stages.pairs import digest_of, digest_of_demonstrations
from workers.training.contracts import Demonstration, PreferencePair

STATE = ".state"
"""What a training resumes from; it is no part of the model."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model in `directory` after `steps` optimiser steps, what was measured, and what it was learned from."""

    kind: CheckpointKind
    directory: Path
    steps: int
    metrics: dict[str, Any]
    pairs: Sequence[PreferencePair]
    backbone: ModelRow | None = None  # what a reward model started from, where that was not the policy's own start
    demonstrations: Sequence[Demonstration] = ()


def published(context: StageContext, kind: CheckpointKind) -> CheckpointRow | None:
    """What an earlier attempt of this stage published, if it came so far."""
    work = context.work
    with context.read() as session:
        return latest_checkpoint(session, work.run_id, round_=work.round, kind=kind, candidate=work.candidate)


def publish(context: StageContext, inputs: StageInputs, trained: Trained) -> CheckpointRow:
    """Copy, then adopt. A holder that lost its lease leaves a directory that no row names; the next one clears it."""
    work = context.work
    folder = f"checkpoints/{work.project_id}/{work.run_id}/{work.round}-{trained.kind}{_suffix(work)}"
    key = f"{folder}/{work.shard_id}-{work.token}"
    store = ArtifactStore(context.settings.artifacts_dir)
    learned_from = lineage(context, inputs, trained.pairs) | _backbone(trained.backbone)
    learned_from |= _taught(trained.demonstrations)
    if trained.kind is not CheckpointKind.REWARD_MODEL:
        learned_from["judges"] = [*learned_from["judges"], *_critics(work.recipe)]
    trained = replace(trained, metrics=trained.metrics | {"alarms": raised(context)})
    clean = _without_state(trained.directory)
    write_card(
        clean,
        _recipe(work),
        trained.backbone or inputs.start_model(),
        kind=trained.kind,
        steps=trained.steps,
        metrics=trained.metrics,
        lineage=learned_from,
    )
    manifest = store.publish(key, clean)
    with context.transaction() as session:
        adopted = _adopt(session, context, inputs, trained, key, manifest, learned_from)
    _clear(store, folder, keep=adopted.storage_key)
    return adopted


def _without_state(directory: Path) -> Path:
    """The model's files alone, as links: nothing is copied twice."""
    clean = directory.with_name(f"{directory.name}.publish")
    shutil.rmtree(clean, ignore_errors=True)
    return Path(shutil.copytree(directory, clean, ignore=shutil.ignore_patterns(STATE), copy_function=os.link))


def _adopt(
    session: Session,
    context: StageContext,
    inputs: StageInputs,
    trained: Trained,
    key: str,
    manifest: Manifest,
    learned_from: dict[str, Any],
) -> CheckpointRow:
    """The row of this unit: ours, or that of an attempt whose commit was not heard of."""
    work = context.work
    row = {
        "id": new_id(Kind.CHECKPOINT),
        "project_id": work.project_id,
        "run_id": work.run_id,
        "round": work.round,
        "candidate": work.candidate,
        "kind": trained.kind,
        "step": trained.steps,
        "storage_key": key,
        "manifest": manifest.as_dict(),
        "digest": manifest.digest,
        "size_bytes": manifest.size,
        "metrics": trained.metrics,
        "lineage": learned_from,
    }
    add_missing(session, Checkpoint, [row])
    adopted = latest_checkpoint(session, work.run_id, round_=work.round, kind=trained.kind, candidate=work.candidate)
    assert adopted is not None  # noqa: S101  it was added two lines above, or was there already
    if trained.kind is not CheckpointKind.REWARD_MODEL:
        add_missing(session, Model, [_model(context, inputs, adopted)])
    return adopted


def _backbone(model: ModelRow | None) -> dict[str, Any]:
    return {} if model is None else {"backbone": model.id, "backbone_digest": model.digest}


def _critics(recipe: Recipe) -> list[str]:
    """Who criticised the answers that a warm start was taught by: a policy that began there has its taste too."""
    critic = recipe.warm_start.critic if isinstance(recipe.warm_start, ConstitutionalConfig) else None
    return [] if critic is None else [critic]


def _taught(demonstrations: Sequence[Demonstration]) -> dict[str, Any]:
    """What was learned from demonstrations, in which the run's judge has had no say."""
    if not demonstrations:
        return {}
    return {
        "judges": [],
        "demonstrations": len(demonstrations),
        "demonstrations_digest": digest_of_demonstrations(demonstrations),
    }


def _suffix(work: ShardWork) -> str:
    """Candidates of a sweep lie apart: what one of them leaves behind is not another's to clear."""
    return f"-{work.candidate}" if work.candidate else ""


def _recipe(work: ShardWork) -> Recipe:
    """What the stage goes by: for a candidate of a sweep its own recipe."""
    return candidates(work.recipe)[work.candidate] if work.kind is StageKind.POLICY else work.recipe


def lineage(context: StageContext, inputs: StageInputs, pairs: Sequence[PreferencePair]) -> dict[str, Any]:
    """What a checkpoint was learned from, by id and digest."""
    run, base = inputs.run, inputs.base_model()
    return {
        "rubric_revision": None if run.rubric is None else run.rubric.revision_id,
        "rubric_hash": None if run.rubric is None else run.rubric.content_hash,
        "prompt_set": run.prompt_set_id,
        "prompt_set_digest": run.prompt_set_digest,
        "base_model": base.id,
        "base_model_digest": base.digest,
        "start_model": inputs.start_model().id,
        "start_model_digest": inputs.start_model().digest,
        "judges": [] if inputs.judge_behind is None else [judge.id for judge in members(inputs.judge_behind)],
        "recipe_hash": _recipe(context.work).content_hash(),
        "preferences": len(pairs),
        "preferences_digest": digest_of(pairs),
        "runs": {kind.value: inputs.behind[kind] for kind in (StageKind.SAMPLE, StageKind.JUDGE, StageKind.PREFER)},
    }


def _model(context: StageContext, inputs: StageInputs, checkpoint: CheckpointRow) -> dict[str, Any]:
    """The policy as a model, so that another run can start from it."""
    work, base = context.work, inputs.base_model()
    made = "warm-start" if work.kind is StageKind.WARM_START else f"round-{work.round}"
    return {
        "id": new_id(Kind.MODEL),
        "project_id": work.project_id,
        "name": f"{work.run_id}-{made}{_suffix(work)}",
        "kind": ModelKind.CHECKPOINT,
        "source": f"checkpoint:{checkpoint.id}",
        "storage_key": checkpoint.storage_key,
        "family": base.family,
        "architecture": base.architecture,
        "parameters": base.parameters,
        "digest": checkpoint.digest,
        "checkpoint_id": checkpoint.id,
    }


def _clear(store: ArtifactStore, folder: str, *, keep: str) -> None:
    """Remove what earlier attempts of this stage published and no row names."""
    for path in store.path(folder).iterdir():
        if path != store.path(keep):
            shutil.rmtree(path, ignore_errors=True)  # what a lost holder is still writing goes with its process
