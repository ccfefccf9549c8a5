"""What the report says of capability tasks: each figure before and after, and how sure the difference is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.rlaif.blocks import Block, Heading, Row, Table, with_interval
from app.rlaif.task_evidence import TaskFigure, TaskResult

_HEAD = ("task", "figure", "documents", "base", "policy", "difference", "interval", "gained", "lost", "p")


def task_blocks(tasks: Mapping[str, TaskResult]) -> Iterator[Block]:
    if not tasks:
        return
    yield Heading("Capability tasks")
    rows = [_row(name, found, figure) for name, found in sorted(tasks.items()) for figure in found.figures]
    yield Table(_HEAD, tuple(rows))


def _row(name: str, found: TaskResult, figure: TaskFigure) -> Row:
    shown = figure.figure if figure.higher_is_better else f"{figure.figure} (lower is better)"
    return (
        name,
        shown,
        str(found.documents),
        f"{figure.base:.3f}",
        f"{figure.policy:.3f}",
        *with_interval(figure.difference, signed=True),
        "-" if figure.gained is None else str(figure.gained),
        "-" if figure.lost is None else str(figure.lost),
        "-" if figure.p_value is None else f"{figure.p_value:.2g}",
    )
