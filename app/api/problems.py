"""Every error leaves as an RFC 9457 problem document with a stable code. Never the input, never an internal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.errors import ServiceError, Unavailable
from app.observability import log
from app.problem_fields import FieldError, field_path
from app.schemas.problem import Problem

MEDIA_TYPE = "application/problem+json"
_MOST_ERRORS = 100
_HEADERS: dict[int, dict[str, str]] = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "2"}}


def install(app: FastAPI) -> None:
    """Register a handler for every class of error that reaches the edge."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    for unreachable in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(unreachable, _database_unavailable)
    app.add_exception_handler(DBAPIError, _database_error)


def problem(
    request: Request,
    status: int,
    *,
    code: str,
    title: str,
    detail: str,
    errors: tuple[FieldError, ...] = (),
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Response:
    """The response for one problem. `extra` members stand beside the standard ones (RFC 9457, section 3.2)."""
    document = Problem(
        type=f"urn:rlaif:problem:{code}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        field=errors[0].field if errors else None,
        errors=list(errors),
        request_id=request.state.request_id,
    )
    # ASCII escapes: a detail that quotes a lone surrogate must still be an answer.
    body = json.dumps({**document.model_dump(mode="json"), **(extra or {})}, ensure_ascii=True, default=str)
    return Response(body, status, {**_HEADERS.get(status, {}), **(headers or {})}, MEDIA_TYPE)


def internal_error(request: Request) -> Response:
    """The answer to what nobody foresaw; the log has the rest, under the same request id."""
    return problem(
        request,
        500,
        code="internal_error",
        title="Internal error",
        detail="the server failed to handle this request; report the request_id to the operator",
    )


def _service_error(request: Request, error: Exception) -> Response:
    error = cast(ServiceError, error)
    errors = error.extra.get("errors") or (
        (FieldError(field=error.field, code=error.code(), message=error.detail),) if error.field else ()
    )
    extra = {key: value for key, value in error.extra.items() if key not in ("errors", "headers")}
    return problem(
        request,
        error.status,
        code=error.code(),
        title=error.title,
        detail=error.detail,
        errors=tuple(errors),
        headers=error.extra.get("headers"),
        extra=extra,
    )


def _validation_error(request: Request, error: Exception) -> Response:
    error = cast(RequestValidationError, error)
    body = error.body
    found = [
        FieldError(
            field=field_path(
                item["loc"], body if item["loc"][0] == "body" else None, missing=item["type"] == "missing"
            ),
            code=item["type"],
            message=item["msg"].removeprefix("Value error, ")[:1000],
        )
        for item in list(error.errors())[:_MOST_ERRORS]
    ]
    return problem(
        request,
        422,
        code="invalid_input",
        title="Invalid input",
        detail="; ".join(f"{item.field}: {item.message}" for item in found[:5]),
        errors=tuple(found),
    )


def _http_error(request: Request, error: Exception) -> Response:
    error = cast(HTTPException, error)
    status = HTTPStatus(error.status_code)
    code = {404: "route_not_found"}.get(status, status.phrase.lower().replace(" ", "_"))
    detail = {
        404: f"there is no route {request.url.path[:200]!r}",
        405: f"{request.method} is not allowed here; see the Allow header",
    }.get(status, str(error.detail))
    headers = {"Allow": _allowed(request)} if status == HTTPStatus.METHOD_NOT_ALLOWED else error.headers
    return problem(request, status, code=code, title=status.phrase, detail=detail, headers=headers)


def _allowed(request: Request) -> str:
    """Every method of the path; the router itself names only those of the first route that has it."""
    routes = [route for route in iter_route_contexts(request.app.routes) if route.path_regex.match(request.url.path)]
    return ", ".join(sorted({method for route in routes for method in route.methods or ()}))


def _disconnected(request: Request, _: Exception) -> Response:
    return problem(
        request, 400, code="body_incomplete", title="Bad request", detail="the connection closed before the body's end"
    )


def _database_unavailable(request: Request, error: Exception) -> Response:
    log.warning("database_unavailable", error=type(error).__name__, cause=str(error).splitlines()[0][:300])
    return problem(
        request,
        Unavailable.status,
        code="database_unavailable",
        title=Unavailable.title,
        detail="the database did not answer in time; nothing was stored; repeat the request after Retry-After seconds",
    )


def _database_error(request: Request, error: Exception) -> Response:
    if cast(DBAPIError, error).connection_invalidated:
        return _database_unavailable(request, error)
    log.error("database_error", exc_info=error)
    return internal_error(request)
