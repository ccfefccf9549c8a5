"""The artifact store: published directories that appear whole or not at all, each with a manifest of SHA-256 digests.

Keys are made by the server, never by a client. A key is written once; its content never changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

MANIFEST = "manifest.json"
_CHUNK = 1 << 20


class ArtifactDamaged(Exception):
    """Raised when a published file is missing, cut or altered; the message names the key and the file."""


class ArtifactMissing(Exception):
    """Raised when nothing was published under a key."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of one published directory, sorted by name. `digest` identifies the whole."""

    files: tuple[FileEntry, ...]

    @property
    def digest(self) -> str:
        lines = "".join(f"{entry.sha256}  {entry.name}\n" for entry in self.files)
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.files)

    def as_dict(self) -> dict[str, Any]:
        return {"digest": self.digest, "files": [asdict(entry) for entry in self.files]}

    @classmethod
    def of_directory(cls, directory: Path) -> Manifest:
        """Reads every file once. Raises ValueError at a symbolic link or anything else that is not a plain file."""
        paths = sorted(path for path in directory.rglob("*") if not path.is_dir() or path.is_symlink())
        return cls(tuple(_entry(directory, path) for path in paths if path.name != MANIFEST))


class ArtifactStore:
    """A directory shared by every worker and the API."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def publish(self, key: str, source: Path) -> Manifest:
        """Copy `source` under `key` atomically: temporary directory, fsync, manifest, rename. Again is a no-op."""
        target = self.path(key)
        if (target / MANIFEST).exists():
            os.utime(target)  # in use again: see workers.scratch.sweep
            return self.manifest(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".publishing-", dir=target.parent))
        try:
            manifest = _stage(source, staging)
            os.rename(staging, target)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        _fsync(target.parent)
        return manifest

    def manifest(self, key: str) -> Manifest:
        """Raises ArtifactMissing."""
        try:
            stored = json.loads((self.path(key) / MANIFEST).read_text())
        except FileNotFoundError as error:
            raise ArtifactMissing(f"nothing was published under {key!r}") from error
        return Manifest(tuple(FileEntry(**entry) for entry in stored["files"]))

    def verify(self, key: str) -> Manifest:
        """Read every file back. Raises ArtifactDamaged at the first one that differs from the manifest."""
        manifest = self.manifest(key)
        for entry in manifest.files:
            path = self.path(key) / entry.name
            if not path.is_file() or path.stat().st_size != entry.size or _sha256(path) != entry.sha256:
                raise ArtifactDamaged(f"{key}/{entry.name} is missing or differs from its digest {entry.sha256[:12]}")
        return manifest

    def open(self, key: str, name: str) -> BinaryIO:
        """Only files that the manifest lists can be opened, so no name reaches outside the key."""
        if name not in {entry.name for entry in self.manifest(key).files}:
            raise ArtifactMissing(f"{key!r} has no file {name!r}")
        return (self.path(key) / name).open("rb")

    def path(self, key: str) -> Path:
        """Where a key lives. Raises ValueError for a key that is not relative and plain."""
        parts = Path(key).parts
        if not parts or Path(key).is_absolute() or any(part in ("..", ".") for part in parts):
            raise ValueError(f"{key!r} is not an artifact key")
        return self.root / key


def _entry(directory: Path, path: Path) -> FileEntry:
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path.name!r} is not a plain file")
    return FileEntry(path.relative_to(directory).as_posix(), path.stat().st_size, _sha256(path))


def _stage(source: Path, staging: Path) -> Manifest:
    manifest = Manifest.of_directory(source)
    for entry in manifest.files:
        copy = staging / entry.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / entry.name, copy)
        _fsync(copy)
    written = Manifest.of_directory(staging)
    if written != manifest:
        raise ArtifactDamaged(f"the copy of {source.name!r} differs from its source; the store may be full or failing")
    (staging / MANIFEST).write_text(json.dumps(manifest.as_dict(), indent=1))
    _fsync(staging / MANIFEST)
    staging.chmod(0o755)
    _fsync(staging)
    return manifest


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
