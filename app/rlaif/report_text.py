"""The report for a person: as Markdown, and as text for a terminal. Both are rendered from the same blocks.

What models and clients wrote is quoted and escaped, so it cannot pose as a part of the report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from app.rlaif.blocks import Heading, Items, Paragraph, Quote, Row, Table, Words
from app.rlaif.report import Report
from app.rlaif.report_blocks import blocks


def as_markdown(report: Report) -> str:
    """GitHub-flavoured Markdown, ending in one newline."""
    return markdown_of(_words(report))


def as_text(report: Report) -> str:
    """Plain text with aligned columns, ending in one newline."""
    return text_of(_words(report))


def markdown_of(words: Iterable[Words]) -> str:
    return "\n\n".join(_markdown(block) for block in words) + "\n"


def text_of(words: Iterable[Words]) -> str:
    return "\n\n".join(_text(block) for block in words) + "\n"


def _words(report: Report) -> Iterator[Words]:
    return (block for block in blocks(report) if isinstance(block, Words))


def _markdown(block: Words) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_escaped(text)}"
        case Paragraph(text):
            return _escaped(text)
        case Items(items):
            return "\n".join(f"- {_escaped(item)}" for item in items)
        case Quote(label, text):
            return f"*{_escaped(label)}*\n\n" + "\n".join(f"    {line}" for line in _lines(text))
        case Table(head, rows):
            ruled = [head, tuple("---" for _ in head), *rows]
            return "\n".join("| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in ruled)


def _text(block: Words) -> str:
    match block:
        case Heading(text, level):
            return f"{_one_line(text)}\n{('=' if level == 1 else '-') * len(_one_line(text))}"
        case Paragraph(text):
            return _one_line(text)
        case Items(items):
            return "\n".join(f"- {_one_line(item)}" for item in items)
        case Quote(label, text):
            return f"{_one_line(label)}:\n" + "\n".join(f"    {line}" for line in _lines(text))
        case Table(head, rows):
            return _aligned([head, *rows])


def _aligned(rows: Sequence[Row]) -> str:
    cells = [[_one_line(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    padded = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)
    return "\n".join(padded)


def _lines(text: str) -> list[str]:
    return [_printable(line) for line in text.splitlines()] or [""]


def _one_line(text: str) -> str:
    return " ".join(_printable(line) for line in text.splitlines())


def _printable(text: str) -> str:
    """Without control characters: an answer must not drive the reader's terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _escaped(text: str) -> str:
    return "".join(f"\\{character}" if character in r"\`*_[]<>|#" else character for character in _one_line(text))
