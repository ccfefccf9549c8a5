"""What is told of an upload whose lines are refused: the first hundred of them, each with its field and reason."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from gzip import BadGzipFile
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.errors import InvalidInput, PayloadTooLarge
from app.jsonl import BadLine, Line, TooMuchContent
from app.problem_fields import FieldError, field_path

MOST_ERRORS = 100
Refusal = TypeVar("Refusal", bound=InvalidInput)


class UploadTooLarge(PayloadTooLarge):
    """Raised when an upload's content, decompressed, exceeds the limit."""


class UploadDamaged(InvalidInput):
    """Raised when a compressed upload breaks off or was never gzip."""


@contextmanager
def uploading(what: str) -> Iterator[None]:
    """What breaks while an upload is read, as the client who sends it is told. Raises UploadTooLarge, UploadDamaged."""
    try:
        yield
    except TooMuchContent as error:
        raise UploadTooLarge(f"{error}: split the {what}", field="body") from error
    except (EOFError, BadGzipFile, zlib.error) as error:
        raise UploadDamaged(f"the compressed body is damaged: {error}", field="body") from error


def validated(line: Line | BadLine, model: type[BaseModel]) -> Line | BadLine:
    """The line with an object of the model for its value, or what is wrong with it."""
    if isinstance(line, BadLine):
        return line
    try:
        return Line(line.number, model.model_validate(line.value))
    except ValidationError as error:
        return BadLine(line.number, *_first(error, line.value))


def field_error(line: BadLine) -> FieldError:
    field = f"line {line.number}" + (f": {line.field}" if line.field else "")
    return FieldError(field=field, code="invalid_line", message=line.problem)


def clash(line: int, message: str, *, field: str | None = None) -> FieldError:
    """A line that cannot stand beside an earlier one."""
    return FieldError(field=f"line {line}" + (f": {field}" if field else ""), code="clash", message=message)


def refusal(kind: type[Refusal], errors: Sequence[FieldError]) -> Refusal:
    """The error that names the lines; nothing was stored."""
    shown = "; ".join(f"{error.field}: {error.message}" for error in errors[:3])
    more = f" (first {MOST_ERRORS} named in errors)" if len(errors) >= MOST_ERRORS else ""
    return kind(f"nothing was stored: {shown}{more}", errors=list(errors))


def _first(error: ValidationError, value: Any) -> tuple[str, str | None]:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    path = field_path(("body", *first["loc"]), value, missing=first["type"] == "missing")
    return first["msg"].removeprefix("Value error, ")[:1000], None if path == "body" else path
