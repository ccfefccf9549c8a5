"""The model card among a checkpoint's files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.db.models import CheckpointKind
from app.repositories.run_inputs import ModelRow
from app.rlaif.model_card import CARD, CardFacts, model_card
from app.rlaif.recipe import Recipe


def write_card(
    directory: Path,
    recipe: Recipe,
    start: ModelRow,
    *,
    kind: CheckpointKind,
    steps: int,
    metrics: Mapping[str, Any],
    lineage: Mapping[str, Any],
) -> None:
    """Add it to the files that are about to be published. `start` is the model that the training began with."""
    facts = CardFacts(
        kind=kind.value,
        steps=steps,
        base_family=start.family,
        base_digest=start.digest,
        architecture=start.architecture,
        settings={**recipe.settings_of(kind.value), "seed": recipe.seed},
        metrics=metrics,
        lineage=lineage,
    )
    (directory / CARD).write_text(model_card(facts))
