"""What a benchmark ends with: one line a figure, `FIGURE VALUE GOAL met|short`, and an exit status that says it all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value and what it should be: at least, at most, or the published value to `within`."""

    name: str
    value: float
    relation: Literal[">=", "<=", "="]
    goal: float
    within: float = 0.0

    @property
    def is_met(self) -> bool:
        if self.relation == "=":
            return abs(self.value - self.goal) <= self.within
        return self.value >= self.goal if self.relation == ">=" else self.value <= self.goal

    def line(self) -> str:
        goal = f"{self.relation}{self.goal:g}" + (f"±{self.within:g}" if self.within else "")
        return f"{self.name} {self.value:.4f} {goal} {'met' if self.is_met else 'short'}"


def conclude(figures: Sequence[Figure]) -> int:
    """Prints the figures' lines; 0 only when all goals are met."""
    print()
    for figure in figures:
        print(figure.line())
    return 0 if all(figure.is_met for figure in figures) else 1


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table; the first column is text, the others are figures."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)
