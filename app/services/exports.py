"""Results as files: every row of a listing as JSONL or Parquet, and preferences in the formats that trainers take.

Rows are read page by page, each page in a short transaction of its own: memory is constant, and a client that reads
slowly, or stops, holds neither a connection nor a snapshot.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from types import UnionType
from typing import Any, TypeVar, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel
from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.db.session import SessionFactory
from app.repositories.pages import Chunk, Slice
from app.schemas.preference import OpenAIInput, OpenAIPreference, TrlPreference

Fetch = Callable[[Session, Slice], Chunk[Any]]
Item = TypeVar("Item", bound=BaseModel)

BATCH_ROWS = 500
GROUP_ROWS = 5_000
GROUP_BYTES = 16 * 2**20


def batches(sessions: SessionFactory, fetch: Fetch) -> Iterator[Sequence[Any]]:
    """All rows of a listing, in its order."""
    after: str | None = None
    while True:
        with sessions() as session:
            found = fetch(session, Slice(BATCH_ROWS, after))
        yield found.rows
        if not found.has_more:
            return
        after = found.last


def validated(rows: Iterable[Sequence[Any]], schema: type[Item]) -> Iterator[list[Item]]:
    """The same objects that the listing's pages hold."""
    for batch in rows:
        yield [schema.model_validate(row) for row in batch]


def as_jsonl(groups: Iterable[Sequence[BaseModel]]) -> Iterator[bytes]:
    """One JSON document a line, a block of lines at a time."""
    for group in groups:
        yield "".join(f"{item.model_dump_json()}\n" for item in group).encode()


def as_parquet(groups: Iterable[Sequence[Item]], schema: type[Item]) -> Iterator[bytes]:
    """A Parquet file, a row group at a time; what is an object or a list in JSON is JSON text in its column."""
    sink = _Sink()
    columns = _arrow_schema(schema)
    with pq.ParquetWriter(sink, columns, compression="zstd") as writer:
        for table in _row_groups(groups, columns):
            writer.write_table(table)
            yield sink.drain()
    yield sink.drain()


def as_trl(rows: Iterable[Sequence[Row[Any]]]) -> Iterator[list[TrlPreference]]:
    """What prefers a side, turned so that `chosen` is the better one. An even pair has no better one."""
    for batch in rows:
        yield [_trl(row) for row in batch if row.probability != 0.5]


def as_openai(rows: Iterable[Sequence[Row[Any]]]) -> Iterator[list[OpenAIPreference]]:
    """What prefers a side; the format has no place for how sure that is."""
    for batch in as_trl(rows):
        yield [_openai(item) for item in batch]


def _trl(row: Row[Any]) -> TrlPreference:
    first, second = _answer(row.first, row.first_turns), _answer(row.second, row.second_turns)
    better, worse = (first, second) if row.probability > 0.5 else (second, first)
    return TrlPreference(
        prompt=row.messages,
        chosen=better,
        rejected=worse,
        tools=row.tools,
        probability=max(row.probability, 1 - row.probability),
    )


def _openai(item: TrlPreference) -> OpenAIPreference:
    return OpenAIPreference(
        input=OpenAIInput(messages=item.prompt, tools=item.tools or [], parallel_tool_calls=True),
        preferred_output=item.chosen,
        non_preferred_output=item.rejected,
    )


def _answer(text: str, turns: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """A trajectory is all of its turns."""
    return [{"role": "assistant", "content": text}] if turns is None else turns


class _Sink(io.RawIOBase):
    """What the writer has written since the last drain; it never seeks."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._pending += view
        self._position += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self._position

    def drain(self) -> bytes:
        pending = bytes(self._pending)
        self._pending.clear()
        return pending


def _row_groups(groups: Iterable[Sequence[BaseModel]], columns: pa.Schema) -> Iterator[pa.Table]:
    waiting: list[pa.RecordBatch] = []
    for group in groups:
        waiting.append(pa.RecordBatch.from_pylist([_flat(item) for item in group], schema=columns))
        full = sum(batch.num_rows for batch in waiting) >= GROUP_ROWS
        if full or sum(batch.nbytes for batch in waiting) >= GROUP_BYTES:
            yield pa.Table.from_batches(waiting, columns)
            waiting = []
    if waiting:
        yield pa.Table.from_batches(waiting, columns)


def _flat(item: BaseModel) -> dict[str, Any]:
    return {
        name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
        for name, value in item.model_dump().items()
    }


def _arrow_schema(schema: type[BaseModel]) -> pa.Schema:
    return pa.schema([pa.field(name, _arrow_type(field.annotation)) for name, field in schema.model_fields.items()])


def _arrow_type(annotation: Any) -> pa.DataType:
    if isinstance(annotation, UnionType):
        annotation = next(member for member in get_args(annotation) if member is not type(None))
    if annotation is bool:
        return pa.bool_()
    if annotation is int:
        return pa.int64()
    if annotation is float:
        return pa.float64()
    if annotation is datetime:
        return pa.timestamp("us", tz="UTC")
    nested = getattr(annotation, "__origin__", None) in (dict, list)
    text = nested or annotation is str or issubclass(annotation, StrEnum)
    if not text:
        raise TypeError(f"no Parquet column type for {annotation}")
    return pa.string()
