"""Errors that reach a client: each class is a stable `code` and an HTTP status (RFC 9457 problem details)."""

from __future__ import annotations

from typing import Any, ClassVar


class ServiceError(Exception):
    """Base of every error with an answer for the client. The message names the object, the value and the remedy."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, field: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.extra = extra

    @classmethod
    def code(cls) -> str:
        """`RunNotFound` -> `run_not_found`."""
        return "".join("_" + c.lower() if c.isupper() else c for c in cls.__name__).lstrip("_")


class InvalidInput(ServiceError):
    """Raised when a payload's shape or value is wrong."""

    status = 422
    title = "Invalid input"


class BadRequest(ServiceError):
    """Raised when a request cannot be read at all: broken JSON, a wrong encoding, a forged cursor."""

    status = 400
    title = "Bad request"


class Unauthorized(ServiceError):
    """Raised when no valid API key came with the request."""

    status = 401
    title = "Unauthorized"


class Forbidden(ServiceError):
    """Raised when the key's scopes do not cover the operation."""

    status = 403
    title = "Forbidden"


class NotFound(ServiceError):
    """Raised when an object does not exist in the caller's project; another project's object looks the same."""

    status = 404
    title = "Not found"

    @classmethod
    def of(cls, kind: str, id_: str) -> NotFound:
        return cls(f"{kind} {id_!r} does not exist in this project")


class Conflict(ServiceError):
    """Raised when the object's state does not allow the operation."""

    status = 409
    title = "Conflict"


class PayloadTooLarge(ServiceError):
    """Raised when a body, line or upload exceeds its limit."""

    status = 413
    title = "Payload too large"


class Unavailable(ServiceError):
    """Raised when a server that this one needs does not answer; the client retries after `Retry-After`."""

    status = 503
    title = "Temporarily unavailable"
