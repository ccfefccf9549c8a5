"""The blocks that a document for people is made of. They hold text as it is: escaping is the renderer's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

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


class Figure(Protocol):
    """What was measured with an interval."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def with_interval(figure: Figure | None, *, signed: bool = False) -> tuple[str, str]:
    """A figure and its interval as two cells show them; dashes where it was not measured."""
    if figure is None:
        return ("-", "-")
    form = "+.3f" if signed else ".3f"
    return (f"{figure.value:{form}}", f"{figure.low:{form}} to {figure.high:{form}}")


def share(value: float | None) -> str:
    """A share as a cell shows it; a dash where it was not measured."""
    return "-" if value is None else f"{value:.3f}"
