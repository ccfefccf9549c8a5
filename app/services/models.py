"""Models: validated before use, published under the digest of their files, registered by name."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy.orm import Session

from app.archives import InvalidArchive, unpack
from app.db.ids import Kind, new_id
from app.db.models import Model, ModelKind
from app.db.session import WriteSession
from app.errors import InvalidInput, NotFound
from app.model_directory import InvalidModel, ModelFacts, inspect_model
from app.repositories import models
from app.repositories.named import insert_named
from app.repositories.pages import Chunk, Slice
from app.storage import ArtifactStore, Manifest


class ModelRefused(InvalidInput):
    """Raised when a model's files must not or could not be loaded; the detail names the file and the remedy."""


class ModelSourceUnknown(InvalidInput):
    """Raised when `local:NAME` names no directory among the operator's base models."""


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """Validated files in the store, not yet registered."""

    facts: ModelFacts
    source: str
    storage_key: str
    digest: str


def publish_local(store: ArtifactStore | None, models_dir: Path | None, name: str) -> PublishedModel:
    """Validate and publish a directory of the operator's. `name` is one path segment, checked by the schema.

    Copies files, so it is called while no database connection is held; without `store` they are only validated. Raises
    ModelSourceUnknown, ModelRefused.
    """
    directory = None if models_dir is None else models_dir / name
    if directory is None or directory.is_symlink() or not directory.is_dir():
        raise ModelSourceUnknown(
            f"the operator offers no base model {name!r}: put it into RLAIF_MODELS_DIR, or upload it", field="source"
        )
    return _publish(store, directory, f"local:{name}")


def publish_archive(store: ArtifactStore, archive: IO[bytes], *, max_bytes: int) -> PublishedModel:
    """Unpack, validate and publish an uploaded tar archive. Raises ModelRefused."""
    with tempfile.TemporaryDirectory(prefix="rlaif-model-") as directory:
        try:
            unpack(archive, Path(directory), max_bytes=max_bytes)
        except InvalidArchive as error:
            raise ModelRefused(f"the archive is refused: {error}", field="body") from error
        return _publish(store, Path(directory), "upload")


def register(session: WriteSession, project_id: str, *, name: str, model: PublishedModel) -> Model:
    """Raises NameTaken."""
    row = Model(
        id=new_id(Kind.MODEL),
        project_id=project_id,
        name=name,
        kind=ModelKind.BASE,
        source=model.source,
        storage_key=model.storage_key,
        family=model.facts.family,
        architecture=model.facts.architecture,
        parameters=model.facts.parameters,
        digest=model.digest,
    )
    insert_named(session, row)
    return row


def get(session: Session, project_id: str, model_id: str) -> Model:
    """Raises NotFound."""
    if (model := models.get(session, project_id, model_id)) is None:
        raise NotFound.of("model", model_id)
    return model


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[Model]:
    return models.page(session, project_id, slice_, name=name)


def _publish(store: ArtifactStore | None, directory: Path, source: str) -> PublishedModel:
    try:
        facts = inspect_model(directory)
        digest = Manifest.of_directory(directory).digest
    except InvalidModel as error:
        raise ModelRefused(f"the model is refused: {error}", field=error.file) from error
    key = f"models/{digest}"
    if store is not None and (published := store.publish(key, directory).digest) != digest:
        raise ModelRefused(
            f"the files changed while they were copied: {digest[:12]} became {published[:12]}, try again"
        )
    return PublishedModel(facts, source, key, digest)
