"""What must hold of the models that a run writes and reads with: their kind, and their room for what is asked."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.orm import Session

from app.db.models import Model
from app.repositories import models
from app.rlaif.architectures import is_encoder, usable_positions
from app.rlaif.recipe import StageKind
from app.services.run_plan import Plan, RunRefused
from app.storage import ArtifactStore


def require_writer(plan: Plan) -> None:
    if plan.base_model is not None and is_encoder(plan.base_model.architecture):
        raise RunRefused(
            f"model {plan.base_model.name!r} is an encoder ({plan.base_model.architecture}), which reads text and "
            "writes none: name a causal model, and this one as recipe.reward_model.backbone",
            field="base_model",
        )


def backbone_of(session: Session, plan: Plan) -> Model | None:
    """What the reward model starts from; None where that is the policy's own start."""
    id_ = plan.recipe.reward_model.backbone
    if id_ is None or StageKind.REWARD_MODEL not in plan.recipe.stages():
        return None
    if (model := models.get(session, plan.prompt_set.project_id, id_)) is None:
        raise RunRefused(
            f"model {id_!r} does not exist in this project: register it, or leave recipe.reward_model.backbone out",
            field="recipe.reward_model.backbone",
        )
    return model


def require_room(store: ArtifactStore, plan: Plan, backbone: Model | None) -> None:
    if plan.base_model is None:
        return
    stages = plan.recipe.stages()
    limits = [
        (f"recipe.{kind.value}.max_length", getattr(plan.recipe, kind.value).max_length, reader)
        for kind, reader in (
            (StageKind.WARM_START, plan.base_model),
            (StageKind.PREFER, plan.base_model),
            (StageKind.REWARD_MODEL, backbone or plan.base_model),
            (StageKind.POLICY, plan.base_model),
        )
        if kind in stages
    ]
    limits.append(("recipe.sample.max_new_tokens", plan.recipe.sample.max_new_tokens, plan.base_model))
    windows = {model.id: _context_window(store, model) for model in (plan.base_model, backbone) if model is not None}
    for field, tokens, model in limits:
        if (window := windows[model.id]) is not None and tokens > window:
            raise RunRefused(
                f"{field} is {tokens}, and model {model.name!r} reads at most {window} tokens: lower it", field=field
            )


def _context_window(store: ArtifactStore, model: Model) -> int | None:
    with store.open(model.storage_key, "config.json") as file:
        config: dict[str, Any] = json.load(file)
    stated = config.get("max_position_embeddings", config.get("n_positions"))
    if not isinstance(stated, int):
        return None
    return usable_positions(str(config.get("model_type")), stated, padding_id=config.get("pad_token_id"))
