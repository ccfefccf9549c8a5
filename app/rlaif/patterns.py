"""Client-supplied patterns on RE2: time linear in the text, memory bounded, no backtracking to hang a worker."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

_MEMORY_BYTES = 8 << 20


class InvalidPattern(ValueError):
    """The pattern is not RE2 syntax (https://github.com/google/re2/wiki/Syntax)."""


def found(pattern: str, text: str) -> bool:
    """Whether the pattern occurs anywhere in the text. Raises InvalidPattern."""
    return compile_pattern(pattern).search(text.encode("utf-8", "replace")) is not None


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Any:
    """The compiled pattern, which searches UTF-8 bytes. Raises InvalidPattern."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_BYTES
    try:
        return re2.compile(pattern, options=options)
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace")
        raise InvalidPattern(f"{pattern!r} is not RE2 syntax ({reason})") from error
    except UnicodeEncodeError as error:
        raise InvalidPattern(f"{pattern!r} holds a lone surrogate: write a valid character") from error
