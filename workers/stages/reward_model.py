"""Trains the reward model on the preferences, from the policy's own start or another backbone, and measures it."""

from __future__ import annotations

from app.db.models import CheckpointKind, Split
from app.repositories.run_inputs import ModelRow, model_row
from app.rlaif.evidence import RewardModelMetrics
from workers.stages.contract import StageContext, StageOutcome
from workers.stages.inputs import StageInputs
from workers.stages.pairs import preference_pairs
from workers.stages.publish import Trained, publish, published
from workers.stages.training import OUTPUT, in_processes, optimisation, trained
from workers.stages.weights import model_directory


def run(context: StageContext) -> StageOutcome:
    """Raises GiveBack, StageRefused."""
    checkpoint = published(context, CheckpointKind.REWARD_MODEL)
    if checkpoint is None:
        inputs = StageInputs.load(context)
        checkpoint = publish(context, inputs, train(context, inputs))
    return StageOutcome(checkpoint.step, checkpoint.metrics)


def train(context: StageContext, inputs: StageInputs) -> Trained:
    """Train, or go on from the state that an earlier holder saved."""
    from workers.training.reward_model import RewardModelConfig, RewardModelData, train_reward_model  # torch

    pairs = preference_pairs(context, inputs, split=Split.TRAIN)
    data = RewardModelData(train=pairs, held_out=preference_pairs(context, inputs, split=Split.HELD_OUT))
    recipe, backbone = context.work.recipe.reward_model, _backbone(context)
    start = model_directory(context, inputs.start_model().storage_key)
    config = RewardModelConfig(
        model_dir=start if backbone is None else model_directory(context, backbone.storage_key),
        template_dir=start,
        **optimisation(context, recipe, leaving_out=("backbone",)),
    )
    directory = context.scratch() / OUTPUT
    call = in_processes(context, train_reward_model)
    result = trained(lambda: call(config, data, directory, context.progress), directory)
    metrics = RewardModelMetrics(
        **result.held_out.model_dump(),
        train_pairs=result.pairs,
        truncated_pairs=result.truncated_pairs,
        identical_pairs=result.identical_pairs,
        overlong_prompts=result.overlong_prompts,
        held_out_left_out=result.held_out_left_out,
        ensemble=result.ensemble,
        resumed_from=result.resumed_from,
        rejected_states=list(result.rejected_states),
    )
    stored = metrics.model_dump(mode="json")
    return Trained(CheckpointKind.REWARD_MODEL, directory, result.steps, stored, pairs, backbone=backbone)


def _backbone(context: StageContext) -> ModelRow | None:
    """The registered model that the recipe names; None where the policy's own start is trained."""
    if (id_ := context.work.recipe.reward_model.backbone) is None:
        return None
    with context.read() as session:
        return model_row(session, id_)
