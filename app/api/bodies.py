"""How requests are read: authenticated first, then a bounded body, then one strict JSON parser for every route."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from app.errors import BadRequest, PayloadTooLarge, ServiceError
from app.json_text import InvalidJson, parse
from app.services import keys

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class UnsupportedMediaType(ServiceError):
    """Raised when a body comes in a type or encoding that the route does not read."""

    status = 415
    title = "Unsupported media type"


class BodyTooLarge(PayloadTooLarge):
    """Raised before a body larger than the limit is held in memory."""


class InvalidBody(BadRequest):
    """Raised when a body is not strict JSON; the message says what and where."""


class InvalidAddress(BadRequest):
    """Raised when the path or the query holds a NUL."""


class JsonRequest(Request):
    """A request whose body was read and parsed by `app.json_text`, so that FastAPI's own parser never runs."""

    document: Any

    async def json(self) -> Any:
        return self.document

    async def load(self, limit: int) -> None:
        """Raises BodyTooLarge, UnsupportedMediaType, InvalidBody."""
        self._body = await _bounded(self, limit)
        self.state.body_digest = hashlib.sha256(self._body).hexdigest()
        if self._body:
            _require_json(self)
            try:
                self.document = parse(self._body)
            except InvalidJson as error:
                raise InvalidBody(str(error), field=error.field or "body") from error


class OpenRoute(APIRoute):
    """A route without a key: health, readiness, metrics."""


class StrictRoute(APIRoute):
    """Every route behind a key. Authentication comes first: nobody unknown makes the server read a body."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()
        has_json_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            _refuse_nul(request)
            request.state.caller = await run_in_threadpool(_authenticate, request)
            if has_json_body:
                request = JsonRequest(request.scope, request.receive)
                await request.load(request.app.state.settings.max_body_bytes)
            return await handle(request)

        return strict


def _authenticate(request: Request) -> keys.Caller:
    with request.app.state.read_sessions() as session:
        return keys.authenticate(session, request.headers.get("authorization"))


def _refuse_nul(request: Request) -> None:
    if "\x00" in request.url.path or "%00" in request.url.query or "\x00" in request.scope["path"]:
        raise InvalidAddress("the path or query holds a NUL character, which no value here can hold", field="url")


async def _bounded(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "0")
    body = bytearray()
    if declared.isdigit() and int(declared) <= limit:
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                break
        else:
            return bytes(body)
    raise BodyTooLarge(f"the body is larger than {limit} bytes: send less, or use an upload route", field="body")


def _require_json(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType(f"send `Content-Type: application/json`, not {kind[:100]!r}", field="Content-Type")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("send the JSON body uncompressed", field="Content-Encoding")
