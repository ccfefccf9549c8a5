"""The one JSON parser for what clients send: RFC 8259 without the parts on which two readers could disagree."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

MAX_DEPTH = 64
_INT64 = range(-(2**63), 2**63)
_INT64_LENGTH = len(str(-(2**63)))
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class InvalidJson(ValueError):
    """The text is not strict JSON. `field` is the path of what is wrong, where there is one."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class _Refused:
    """Stands in the parsed value for what is refused, until the walk finds out where it stands."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def parse(raw: bytes) -> Any:
    """The value of one JSON document in UTF-8; a byte order mark is tolerated.

    Raises InvalidJson for: another encoding, broken syntax, duplicate keys, NaN and Infinity, floats beyond double,
    integers beyond 64 bits, NUL and lone surrogates in any string, nesting deeper than MAX_DEPTH.
    """
    return _parse(raw, _STRICT, storable=True)


def parse_file(raw: bytes) -> Any:
    """As `parse`, for files that are only looked at: any number and any string that Python's parser reads."""
    return _parse(raw, _LENIENT, storable=False)


def _parse(raw: bytes, decoder: json.JSONDecoder, *, storable: bool) -> Any:
    try:
        value = decoder.decode(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidJson(f"not UTF-8: byte {error.start} cannot be read") from error
    except json.JSONDecodeError as error:
        raise InvalidJson(f"not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise InvalidJson(f"nested deeper than {MAX_DEPTH} levels") from error
    _walk(value, "", 0, storable=storable)
    return value


def _walk(value: Any, path: str, depth: int, *, storable: bool) -> None:
    if isinstance(value, _Refused):
        raise InvalidJson(f"{path or 'the value'}: {value.reason}", path or None)
    if isinstance(value, str):
        _require_text(value, path, storable=storable)
    elif isinstance(value, dict | list) and depth >= MAX_DEPTH:
        raise InvalidJson(f"nested deeper than {MAX_DEPTH} levels")
    elif isinstance(value, dict):
        for key, item in value.items():
            _require_text(key, path, storable=storable)
            _walk(item, f"{path}.{key}" if path else key, depth + 1, storable=storable)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _walk(item, f"{path}[{index}]", depth + 1, storable=storable)


def _require_text(text: str, path: str, *, storable: bool) -> None:
    if storable and _UNSTORABLE.search(text):
        raise InvalidJson(f"{path or 'a key'} holds a NUL or a lone surrogate, which is no text", path or None)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        counted = Counter(key for key, _ in pairs)
        for key, count in counted.items():
            if count > 1:
                value[key] = _Refused("this key appears twice in one object")
    return value


def _integer(text: str) -> int | _Refused:
    if len(text) > _INT64_LENGTH or int(text) not in _INT64:
        return _Refused(f"the integer {text[:40]} does not fit into 64 bits")
    return int(text)


def _finite(text: str) -> float | _Refused:
    value = float(text)
    return _Refused(f"the number {text[:40]} is too large") if math.isinf(value) else value


def _no_constant(text: str) -> _Refused:
    return _Refused(f"{text} is not JSON (RFC 8259, section 6)")


_LENIENT = json.JSONDecoder(object_pairs_hook=_unique)
_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_finite, parse_constant=_no_constant
)
