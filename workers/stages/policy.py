"""Optimises the policy from the run's base model: on the preferences, or on its own answers."""

from __future__ import annotations

from typing import Any

from app.db.models import CheckpointKind, Split
from app.repositories.checkpoints import CheckpointRow
from app.rlaif.sweep import candidates
from app.rlaif.training import PolicyConfig
from workers.stages.contract import StageContext, StageOutcome, StageRefused
from workers.stages.inputs import StageInputs
from workers.stages.online_policy import learn
from workers.stages.pairs import preference_pairs
from workers.stages.publish import Trained, publish, published
from workers.stages.training import OUTPUT, in_processes, optimisation, trained
from workers.stages.weights import model_directory

SPOILED = ("non_finite_loss", "health_alarm")
"""Ends of a training by its own settings: a sweep goes on with its other candidates."""


def run(context: StageContext) -> StageOutcome:
    """Raises GiveBack, StageRefused."""
    checkpoint = published(context, CheckpointKind.POLICY)
    if checkpoint is None:
        try:
            checkpoint = _published(context)
        except StageRefused as error:
            if context.work.recipe.sweep is None or error.code not in SPOILED:
                raise
            return StageOutcome(1, {"failed": {"code": error.code, "detail": error.detail}})
    return StageOutcome(checkpoint.step, checkpoint.metrics)


def _published(context: StageContext) -> CheckpointRow:
    inputs = StageInputs.load(context)
    recipe = candidates(context.work.recipe)[context.work.candidate].policy
    done = train(context, inputs, recipe) if isinstance(recipe, PolicyConfig) else learn(context, inputs, recipe)
    return publish(context, inputs, done)


def train(context: StageContext, inputs: StageInputs, recipe: PolicyConfig) -> Trained:
    """Train on preferences, or go on from the state that an earlier holder saved."""
    from workers.training.dpo import DPOConfig, train_dpo  # torch
    from workers.training.reference import ReferenceCache

    base = inputs.start_model()
    pairs = preference_pairs(context, inputs, split=Split.TRAIN)
    config = DPOConfig(
        model_dir=model_directory(context, base.storage_key),
        **optimisation(context, recipe),
    )
    directory = context.scratch() / OUTPUT
    references = ReferenceCache(context.settings.artifacts_dir / "references", model=base.digest)
    call = in_processes(context, train_dpo)
    result = trained(lambda: call(config, pairs, directory, context.progress, references=references), directory)
    metrics: dict[str, Any] = {
        **result.metrics,
        "train_pairs": result.pairs,
        "truncated_pairs": result.truncated_pairs,
        "identical_pairs": result.identical_pairs,
        "overlong_prompts": result.overlong_prompts,
        "reference_cached_pairs": result.reference_cached_pairs,
        "resumed_from": result.resumed_from,
        "rejected_states": list(result.rejected_states),
    }
    return Trained(CheckpointKind.POLICY, directory, result.steps, metrics, pairs)
