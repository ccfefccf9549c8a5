"""Large bodies: written to a temporary file as they arrive, so that neither memory nor a transaction waits for them."""

from __future__ import annotations

import gzip
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import IO, Annotated, cast

from fastapi import Depends, Query, Request, params
from starlette.concurrency import run_in_threadpool

from app.api.bodies import BodyTooLarge, UnsupportedMediaType
from app.api.dependencies import CurrentSettings, Writer
from app.schemas.names import ResourceName

_BLOCK = 1 << 20
_ENCODINGS = ("identity", "gzip")


@dataclass(frozen=True, slots=True)
class SpooledBody:
    """A body on disk."""

    file: IO[bytes]
    gzipped: bool

    @contextmanager
    def content(self) -> Iterator[IO[bytes]]:
        """The body, decompressed while it is read."""
        self.file.seek(0)
        if not self.gzipped:
            yield self.file
            return
        with gzip.GzipFile(fileobj=self.file, mode="rb") as content:
            yield cast(IO[bytes], content)


@dataclass(frozen=True, slots=True)
class Upload(SpooledBody):
    """A body and the name that its object will have."""

    name: str


async def received_body(
    request: Request,
    caller: Writer,  # a body is read only from who may write
    settings: CurrentSettings,
) -> AsyncIterator[SpooledBody]:
    """Raises UnsupportedMediaType, BodyTooLarge."""
    async with _spooled(request, settings.max_upload_bytes) as body:
        yield body


async def received(
    request: Request,
    caller: Writer,  # a body is read only from who may write
    settings: CurrentSettings,
    name: Annotated[ResourceName, Query(description="Name of the new object, unique within the project")],
) -> AsyncIterator[Upload]:
    """Raises UnsupportedMediaType, BodyTooLarge."""
    async with _spooled(request, settings.max_upload_bytes) as body:
        yield Upload(body.file, body.gzipped, name)


def accepts(*types: str) -> params.Depends:
    """A dependency that refuses other content types before the body is read."""

    async def require(request: Request, caller: Writer) -> None:  # who may not write is told so first
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in types:
            raise UnsupportedMediaType(f"send Content-Type {types[0]}, not {kind[:100]!r}", field="Content-Type")

    return params.Depends(require)


@asynccontextmanager
async def _spooled(request: Request, limit: int) -> AsyncIterator[SpooledBody]:
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in _ENCODINGS:
        raise UnsupportedMediaType(f"send the body plain or as gzip, not {encoding[:100]!r}", field="Content-Encoding")
    with tempfile.TemporaryFile(prefix="rlaif-upload-") as file:
        request.state.body_digest = await _spool(request, file, limit)
        yield SpooledBody(file, encoding == "gzip")


async def _spool(request: Request, file: IO[bytes], limit: int) -> str:
    """Write the body to the file; its SHA-256. Writes in blocks, off the event loop."""
    digest, block, size = hashlib.sha256(), bytearray(), 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise BodyTooLarge(f"the upload is larger than {limit} bytes", field="body")
        digest.update(piece)
        block += piece
        if len(block) >= _BLOCK:
            await run_in_threadpool(file.write, bytes(block))
            block.clear()
    await run_in_threadpool(file.write, bytes(block))
    return digest.hexdigest()


ReceivedUpload = Annotated[Upload, Depends(received, scope="function")]
ReceivedBody = Annotated[SpooledBody, Depends(received_body, scope="function")]
