"""Readers of clients' bytes: whatever comes in, the answer is a value or the reader's own error."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.pagination import InvalidCursor, seal, unseal
from app.archives import InvalidArchive, unpack
from app.json_text import InvalidJson, parse
from app.jsonl import BadLine, Line, TooMuchContent, read_lines
from app.safetensors_header import InvalidSafetensors, tensor_sizes

TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(SCALARS | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)
JSONISH = st.text('{}[]",:0123456789eE+-.\\untrfalse \ud800\x00').map(
    lambda text: text.encode("utf-8", "surrogatepass")
)


def lines(raw: bytes, *, max_line: int = 100, max_total: int = 10_000) -> list[Line | BadLine]:
    return list(read_lines(io.BytesIO(raw), max_line=max_line, max_total=max_total))


class TestJson:
    @given(VALUES)
    def test_what_can_be_stored_comes_through(self, value: Any) -> None:
        assert parse(json.dumps(value).encode()) == value
        assert parse(json.dumps(value, ensure_ascii=False).encode()) == value

    @given(st.binary() | JSONISH)
    def test_anything_else_is_refused_as_no_json(self, raw: bytes) -> None:
        try:
            value = parse(raw)
        except InvalidJson:
            return
        assert json.loads(raw) == value

    @given(VALUES, st.sampled_from(['"\\u0000"', '"\\udc00"', "NaN", "-Infinity", "1e999", "-9223372036854775809"]))
    def test_a_refused_value_is_named_wherever_it_stands(self, value: Any, refused: str) -> None:
        raw = f'{{"before": {json.dumps(value)}, "here": [0, {refused}]}}'
        with pytest.raises(InvalidJson) as caught:
            parse(raw.encode())
        assert caught.value.field == "here[1]"


class TestJsonLines:
    @given(st.lists(VALUES, max_size=10), st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n"]))
    def test_every_value_in_order(self, values: list[Any], newline: bytes) -> None:
        raw = newline.join(json.dumps(value).encode() for value in values)
        found = lines(raw, max_line=2**20, max_total=2**24)
        assert [line.value for line in found if isinstance(line, Line)] == values

    @given(st.binary(max_size=2000))
    def test_any_bytes_are_lines_or_bad_lines(self, raw: bytes) -> None:
        assert all(0 < line.number <= raw.count(b"\n") + 1 for line in lines(raw))

    @given(st.integers(90, 350), st.booleans())
    def test_a_line_is_long_by_its_bytes(self, size: int, ends: bool) -> None:
        raw = b'"' + b"x" * (size - 2) + b'"' + b"\n" * ends
        [line, *rest] = lines(raw + b"" if not ends else raw + b"7")
        assert isinstance(line, BadLine) == (size > 100)
        assert [after.value for after in rest if isinstance(after, Line)] == ([7] if ends else [])

    @given(st.integers(0, 3000))
    def test_the_total_is_bounded(self, size: int) -> None:
        if size > 1000:
            with pytest.raises(TooMuchContent):
                lines(b"\n" * size, max_total=1000)
        else:
            assert lines(b"\n" * size, max_total=1000) == []


class TestFiles:
    @given(st.binary(max_size=300) | VALUES.map(lambda value: json.dumps(value).encode()).map(
        lambda raw: len(raw).to_bytes(8, "little") + raw))  # fmt: skip
    def test_a_safetensors_header(self, raw: bytes) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "x.safetensors"
            path.write_bytes(raw)
            with pytest.raises(InvalidSafetensors):
                tensor_sizes(path)

    @given(st.binary(max_size=2000))
    def test_an_archive(self, raw: bytes) -> None:
        with tempfile.TemporaryDirectory() as directory, pytest.raises(InvalidArchive):
            unpack(io.BytesIO(raw), Path(directory), max_bytes=1000)


class TestCursors:
    @given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1), TEXT)
    def test_a_seal_opens_where_it_was_made(self, key: str, listing: str) -> None:
        assert unseal(seal(key, listing), listing) == key

    @given(st.text())
    def test_nothing_else_opens(self, cursor: str) -> None:
        with pytest.raises(InvalidCursor):
            unseal(cursor, "project /v1/rubrics")
