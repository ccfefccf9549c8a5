"""Unpacks a tar archive of plain files, believing nothing that it says about paths, links or sizes."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_MAX_FILES = 1000


class InvalidArchive(ValueError):
    """The archive is broken, too large, or holds what is not a plain file of a plain name."""


def unpack(source: IO[bytes], target: Path, *, max_bytes: int) -> None:
    """Write the archive's files into `target`, flat; one directory around them is taken off. Raises InvalidArchive."""
    left, parents = max_bytes, set()
    try:
        with tarfile.open(fileobj=source, mode="r|") as archive:
            for count, member in enumerate(archive, start=1):
                path = _checked(member, count)
                if path is None:
                    continue
                parents.add(path.parent)
                left -= member.size
                if left < 0:
                    raise InvalidArchive(f"its files are larger than {max_bytes} bytes")
                _write(archive, member, target / path.name)
    except (tarfile.TarError, EOFError) as error:
        raise InvalidArchive(f"not a complete tar archive: {error}") from error
    if len(parents) != 1:
        raise InvalidArchive("it must hold files, all of them in one directory or all of them in none")


def _checked(member: tarfile.TarInfo, count: int) -> PurePosixPath | None:
    """The file's path within the archive, at most one directory deep; None for a directory."""
    shown = member.name[:200]
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    if count > _MAX_FILES:
        raise InvalidArchive(f"it holds more than {_MAX_FILES} files")
    if member.name.startswith("/") or len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts):
        raise InvalidArchive(f"{shown!r} is not a plain file name")
    if member.isdir():
        return None
    if not member.isreg() or member.issparse():
        raise InvalidArchive(f"{shown!r} is not a plain file: links and devices are refused")
    return PurePosixPath(*parts)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = archive.extractfile(member)
    if content is None:
        raise InvalidArchive(f"{member.name[:200]!r} has no content")
    try:
        with target.open("xb") as file:
            shutil.copyfileobj(content, file, 1 << 20)
    except FileExistsError as error:
        raise InvalidArchive(f"{member.name[:200]!r} is in it twice") from error
