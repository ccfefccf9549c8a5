"""Model directories: read from the artifact store with their digests verified, published with a row."""

from __future__ import annotations

from pathlib import Path

from app.storage import ArtifactDamaged, ArtifactMissing, ArtifactStore
from workers.stages.contract import StageContext, StageRefused


def model_directory(context: StageContext, storage_key: str) -> Path:
    """Where a published model lies, every byte of it verified. Raises StageRefused when it is missing or damaged."""
    store = ArtifactStore(context.settings.artifacts_dir)
    try:
        store.verify(storage_key)
    except (ArtifactMissing, ArtifactDamaged) as error:
        remedy = "restore it from a copy, or register the model again and start another run with it"
        raise StageRefused("artifact_damaged", f"{error}; {remedy}") from error
    return store.path(storage_key)
