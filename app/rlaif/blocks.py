"""The blocks that a document for people is made of. They hold text as it is: escaping is the renderer's."""

from __future__ import annotations

from dataclasses import dataclass

from app.rlaif.charts import Chart

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str


@dataclass(frozen=True, slots=True)
class Items:
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quote:
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    head: Row
    rows: tuple[Row, ...]


Words = Heading | Paragraph | Items | Quote | Table
Block = Words | Chart
"""The charts hold no figure that a table or the JSON does not: a renderer without pictures leaves them out."""


def share(value: float | None) -> str:
    """A share as a cell shows it; a dash where it was not measured."""
    return "-" if value is None else f"{value:.3f}"
