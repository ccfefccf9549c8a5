"""Reads the header of a safetensors file and holds it against the file: sizes add up, no overlap, no hole, no tail.

Format: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from app.json_text import InvalidJson, parse

MAX_HEADER_BYTES = 100_000_000  # as the reference implementation
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4,
}  # fmt: skip


class InvalidSafetensors(ValueError):
    """The file is not safetensors, or its header does not describe its bytes."""


def tensor_sizes(path: Path) -> dict[str, int]:
    """Number of elements of each tensor. Raises InvalidSafetensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
            raise InvalidSafetensors("not safetensors: the header's length does not fit the file")
        header = _header(file.read(length))
    spans = sorted(_span(name, entry) for name, entry in header.items() if name != "__metadata__")
    end = 0
    for start, stop, name, _ in spans:
        if start != end:
            raise InvalidSafetensors(f"tensor {name[:200]!r} begins at byte {start}, where {end} was expected")
        end = stop
    if not spans or end != size - 8 - length:
        raise InvalidSafetensors(f"the header describes {end} bytes of tensors, the file has {size - 8 - length}")
    return {name: elements for _, _, name, elements in spans}


def _header(raw: bytes) -> dict[str, Any]:
    try:
        header = parse(raw)
    except InvalidJson as error:
        raise InvalidSafetensors(f"the header is broken: {error}") from error
    if not isinstance(header, dict):
        raise InvalidSafetensors("the header is not an object")
    return header


def _span(name: str, entry: Any) -> tuple[int, int, str, int]:
    try:
        bits, shape, (start, stop) = _BITS[entry["dtype"]], entry["shape"], entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise InvalidSafetensors(f"tensor {name[:200]!r} lacks a known dtype, a shape or two offsets") from error
    if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
        raise InvalidSafetensors(f"tensor {name[:200]!r} has a shape or an offset that is not a whole number")
    elements = math.prod(shape)
    if (stop - start) * 8 != elements * bits:
        raise InvalidSafetensors(
            f"tensor {name[:200]!r} has {stop - start} bytes where its shape needs {elements * bits / 8:.0f}"
        )
    return start, stop, name, elements
