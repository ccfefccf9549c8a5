"""Reads JSON lines from a byte stream in constant memory; a bad line is a value, so that many can be reported."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from app.json_text import InvalidJson, parse


@dataclass(frozen=True, slots=True)
class Line:
    """One line's JSON value; `number` counts from 1 and includes blank lines."""

    number: int
    value: Any


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be used, and why."""

    number: int
    problem: str
    field: str | None = None


class TooMuchContent(ValueError):
    """The stream is larger than the limit, as a compressed one can be."""


def read_lines(stream: IO[bytes], *, max_line: int, max_total: int) -> Iterator[Line | BadLine]:
    """The lines that are not blank. A byte order mark, CRLF and a missing last newline are tolerated.

    Raises TooMuchContent after `max_total` bytes; a line above `max_line` bytes is a BadLine and is never held.
    """
    total, number = 0, 0
    while raw := stream.readline(max_line + 1):
        number += 1
        size = len(raw)
        too_long = size > max_line and not raw.endswith(b"\n")
        while too_long and total + size <= max_total and (rest := stream.readline(max_line)):
            size += len(rest)
            if rest.endswith(b"\n"):
                break
        total += size
        if total > max_total:
            raise TooMuchContent(f"the content is larger than {max_total} bytes")
        if too_long:
            yield BadLine(number, f"longer than {max_line} bytes")
        elif raw.strip(b" \t\r\n\xef\xbb\xbf"):
            yield _line(number, raw)


def _line(number: int, raw: bytes) -> Line | BadLine:
    try:
        return Line(number, parse(raw))
    except InvalidJson as error:
        return BadLine(number, str(error), error.field)
