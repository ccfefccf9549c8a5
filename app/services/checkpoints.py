"""Checkpoints: where they are listed, and how their files and their archive are read from any byte to any byte.

The archive is a tar whose every byte follows from the manifest, so its size is known before it is read and a broken
download goes on where it stopped.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.orm import Session

from app.db.models import Checkpoint
from app.errors import NotFound, ServiceError
from app.repositories import results
from app.repositories.pages import Chunk, Slice
from app.services import runs
from app.storage import MANIFEST, ArtifactMissing, ArtifactStore, FileEntry

_PIECE = 1 << 20


class CheckpointDamaged(ServiceError):
    """Raised when the store no longer holds a published file as its manifest says."""

    title = "Checkpoint damaged"


class Segment(Protocol):
    """A known number of bytes that can be read from any place."""

    @property
    def size(self) -> int: ...

    def read(self, start: int, stop: int) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class Literal:
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        yield self.content[start:stop]


@dataclass(frozen=True, slots=True)
class StoredFile:
    store: ArtifactStore
    key: str
    entry: FileEntry

    @property
    def size(self) -> int:
        return self.entry.size

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        with self.store.open(self.key, self.entry.name) as file:
            file.seek(start)
            while start < stop:
                piece = file.read(min(_PIECE, stop - start))
                if not piece:
                    raise CheckpointDamaged(f"{self.entry.name!r} of {self.key!r} ends at byte {start}")
                start += len(piece)
                yield piece


@dataclass(frozen=True, slots=True)
class Download:
    """What is sent: `etag` is equal exactly when all bytes are."""

    name: str
    etag: str
    media_type: str
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` up to, without, `stop`."""
        offset = 0
        for segment in self.segments:
            first, last = max(start - offset, 0), min(stop - offset, segment.size)
            if first < last:
                yield from segment.read(first, last)
            offset += segment.size


def get(session: Session, project_id: str, checkpoint_id: str) -> Checkpoint:
    """Raises NotFound."""
    if (row := results.checkpoint(session, project_id, checkpoint_id)) is None:
        raise NotFound.of("checkpoint", checkpoint_id)
    return row


def page(session: Session, project_id: str, slice_: Slice, *, run_id: str | None) -> Chunk[Checkpoint]:
    """Newest first; of one run, its own and those of the stages that it reuses. Raises NotFound."""
    provenance = None if run_id is None else runs.provenance(session, project_id, run_id)
    return results.checkpoint_page(session, project_id, slice_, provenance=provenance)


def file(store: ArtifactStore, checkpoint: Checkpoint, name: str) -> Download:
    """One file that the manifest lists. Raises NotFound, CheckpointDamaged."""
    for entry in _entries(checkpoint):
        if entry.name == name:
            stored = _stored(store, checkpoint, entry)
            return Download(name.rpartition("/")[2], entry.sha256, "application/octet-stream", (stored,))
    raise NotFound(f"checkpoint {checkpoint.id!r} has no file {name[:200]!r}: its manifest lists what there is")


def archive(store: ArtifactStore, checkpoint: Checkpoint) -> Download:
    """All files and the manifest as one tar. Raises CheckpointDamaged."""
    manifest = json.dumps(checkpoint.manifest, indent=1, sort_keys=True).encode()
    segments = [*_member(checkpoint.id, MANIFEST, Literal(manifest))]
    for entry in _entries(checkpoint):
        segments += _member(checkpoint.id, entry.name, _stored(store, checkpoint, entry))
    segments.append(Literal(bytes(2 * tarfile.BLOCKSIZE)))
    return Download(f"{checkpoint.id}.tar", f"{checkpoint.digest}.tar", "application/x-tar", tuple(segments))


def _entries(checkpoint: Checkpoint) -> list[FileEntry]:
    return [FileEntry(**entry) for entry in checkpoint.manifest["files"]]


def _stored(store: ArtifactStore, checkpoint: Checkpoint, entry: FileEntry) -> StoredFile:
    try:
        with store.open(checkpoint.storage_key, entry.name) as file:
            size = file.seek(0, 2)
    except (ArtifactMissing, FileNotFoundError) as error:
        raise CheckpointDamaged(f"{entry.name!r} of {checkpoint.id!r} is missing from the artifact store") from error
    if size != entry.size:
        raise CheckpointDamaged(f"{entry.name!r} of {checkpoint.id!r} has {size} bytes, its manifest says {entry.size}")
    return StoredFile(store, checkpoint.storage_key, entry)


def _member(directory: str, name: str, content: Segment) -> list[Segment]:
    """A tar member whose header holds nothing but name and size."""
    info = tarfile.TarInfo(f"{directory}/{name}")
    info.size, info.mode = content.size, 0o644
    header = info.tobuf(tarfile.PAX_FORMAT)
    return [Literal(header), content, Literal(bytes(-content.size % tarfile.BLOCKSIZE))]
