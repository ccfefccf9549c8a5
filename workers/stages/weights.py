"""Model files, read from the artifact store with their digests verified."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.storage import ArtifactDamaged, ArtifactMissing, ArtifactStore
from workers.stages.contract import StageContext, StageRefused


def model_directory(context: StageContext, storage_key: str) -> Path:
    """Where a published model lies, every byte of it verified. Raises StageRefused when it is missing or damaged."""
    store = ArtifactStore(context.settings.artifacts_dir)
    with _damage_refused():
        store.verify(storage_key)
    return store.path(storage_key)


def verified_text(context: StageContext, storage_key: str, name: str) -> str | None:
    """One small file of a published model, None where it has none: what needs no weights does not read them.

    Raises StageRefused.
    """
    store = ArtifactStore(context.settings.artifacts_dir)
    with _damage_refused():
        expected = {entry.name: entry.sha256 for entry in store.manifest(storage_key).files}
        if name not in expected:
            return None
        with store.open(storage_key, name) as file:
            content = file.read()
        if hashlib.sha256(content).hexdigest() != expected[name]:
            raise ArtifactDamaged(f"{storage_key}/{name} differs from its digest {expected[name][:12]}")
    return content.decode()


@contextmanager
def _damage_refused() -> Iterator[None]:
    try:
        yield
    except (ArtifactMissing, ArtifactDamaged) as error:
        remedy = "restore it from a copy, or register the model again and start another run with it"
        raise StageRefused("artifact_damaged", f"{error}; {remedy}") from error
