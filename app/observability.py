"""Structured logs and Prometheus metrics. Neither ever holds a body, a key or a query value."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Any

import structlog
from fastapi import Request
from prometheus_client import CollectorRegistry, Histogram
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger("rlaif")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def configure_logging(settings: Settings) -> None:
    """JSON lines for machines, colours for a terminal; the standard library's loggers are left as they are."""
    renderer: Any = structlog.processors.JSONRenderer() if settings.log_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )


def request_histogram(registry: CollectorRegistry) -> Histogram:
    """Latency by route template, never by path: a path's ids would make one series each."""
    return Histogram(
        "rlaif_http_request_duration_seconds",
        "Time from the request line to the last byte of the answer",
        ("method", "route", "status"),
        registry=registry,
        buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    )


class RequestContext:
    """Outermost middleware: the request id, one log line, one observation, and an answer to unforeseen errors."""

    def __init__(self, app: ASGIApp, histogram: Histogram, on_error: Any) -> None:
        self._app = app
        self._histogram = histogram
        self._on_error = on_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await _Exchange(scope, send, self._histogram).run(self._app, receive, self._on_error)


class _Exchange:
    def __init__(self, scope: Scope, send: Send, histogram: Histogram) -> None:
        self._scope = scope
        self._send = send
        self._histogram = histogram
        self._status = 0
        self._request = Request(scope)
        self._request.state.request_id = _request_id(self._request)

    async def run(self, app: ASGIApp, receive: Receive, on_error: Any) -> None:
        started = time.perf_counter()
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=self._request.state.request_id)
        try:
            await app(self._scope, receive, self.send)
        except Exception as error:
            log.error("request_failed", exc_info=error)
            if self._status:  # the head has left: only cutting the connection tells the client the truth
                raise
            await on_error(self._request)(self._scope, receive, self.send)
        finally:
            self._record(time.perf_counter() - started)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self._request.state.request_id
        await self._send(message)

    def _record(self, seconds: float) -> None:
        route = getattr(self._scope.get("route"), "path", "unmatched")
        self._histogram.labels(self._scope["method"], route, str(self._status)).observe(seconds)
        log.info(
            "request",
            method=self._scope["method"],
            route=route,
            status=self._status,
            milliseconds=round(seconds * 1000, 2),
            project=getattr(getattr(self._request.state, "caller", None), "project_id", None),
        )


def _request_id(request: Request) -> str:
    given = request.headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
