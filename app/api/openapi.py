"""The OpenAPI document: what FastAPI derives from the code, with every problem that an operation can answer."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from app.api.problems import MEDIA_TYPE
from app.schemas.problem import Problem

DESCRIPTION = """
A rubric, a prompt set and a base model in; a trained checkpoint and the evidence that it is better out.

Send `Authorization: Bearer rlaif_...`. Errors are problem documents (RFC 9457) with a stable `code`. Every `POST` that
creates takes an `Idempotency-Key`. Lists are keyset pages: pass `after` back to read on.
"""
_PROBLEMS = {
    400: "The request cannot be read: broken JSON, a forged cursor, a NUL in the address.",
    401: "No valid API key.",
    403: "The key's scopes do not cover the operation.",
    404: "No such object in this project; another project's object looks the same.",
    409: "The object's state, or another request in flight, does not allow this.",
    413: "The body, a line or the decompressed content is too large.",
    415: "The body's type or encoding is not one that this operation reads.",
    422: "A value is wrong; `errors` names each field.",
    500: "The server failed; the log has the rest under `request_id`.",
    503: "The database does not answer in time; nothing was stored; repeat after `Retry-After` seconds.",
}
_REF = "#/components/schemas/{model}"


def install(app: FastAPI) -> None:
    """Replace the app's generator of the document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, with one problem schema instead of FastAPI's own validation errors."""
    spec = get_openapi(
        title=app.title, version=version("rlaif-service"), description=DESCRIPTION.strip(), routes=app.routes
    )
    schemas = spec["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= models_json_schema([(Problem, "serialization")], ref_template=_REF)[1]["$defs"]
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            _add_problems(operation, method, path)
    return spec


def _add_problems(operation: dict[str, Any], method: str, path: str) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    for status in _statuses(operation, method, path):
        schema = {"$ref": _REF.format(model="Problem")}
        documented = {"description": _PROBLEMS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        responses.setdefault(str(status), documented)
    operation["responses"] = dict(sorted(responses.items()))


def _statuses(operation: dict[str, Any], method: str, path: str) -> set[int]:
    found = {500, 503}
    if "security" in operation:
        found |= {400, 401, 403}
    if "{" in path:
        found.add(404)
    if method == "post":
        found.add(409)
    if "requestBody" in operation:
        found |= {413, 415, 422}
    if operation.get("parameters"):
        found.add(422)
    return found
