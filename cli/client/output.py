"""What a command prints: a table for a person, JSON with --json for a script."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli.client.connection import errors
from cli.exits import Exit

console = Console(soft_wrap=True, highlight=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON: one document, or one object a line for a list.")]
Limit = Annotated[int, typer.Option(min=1, help="Largest number of rows.")]
Key = Annotated[
    str | None, typer.Option("--idempotency-key", help="Repeating the command with the same key creates nothing twice.")
]
InputFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]


def show(document: dict[str, Any], *, as_json: bool, fields: Sequence[str] = ()) -> None:
    """One object: its chosen fields for a person, all of it for a script."""
    if as_json:
        print(json.dumps(document, ensure_ascii=False, indent=2))
        return
    width = max((len(name) for name in fields or document), default=0)
    for name in fields or document:
        console.print(f"[bold]{name:<{width}}[/]  ", end="")
        console.print(_cell(document.get(name)), markup=False)


def show_rows(rows: Iterable[dict[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """A list: a table for a person, JSON lines for a script."""
    if as_json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
        return
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(_at(row, column)) for column in columns))
    console.print(table)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object; ends the command with the place of the mistake when it does not."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise unusable(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise unusable(f"{path} must hold one JSON object, not a {type(content).__name__}")
    return content


def write_text(path: Path, text: str) -> None:
    """Ends the command when the file cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise unusable(f"{path} cannot be written: {error.strerror}") from error


def unusable(reason: str) -> typer.Exit:
    """The end of a command that was given something it cannot work with; the reason is printed."""
    errors.print(reason, style="red")
    return typer.Exit(Exit.USAGE)


def _at(row: dict[str, Any], column: str) -> Any:
    """The value of a column; `revision.number` reaches into an object."""
    value: Any = row
    for name in column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
