"""Commands for trajectories: how often agents succeed, how reliably, and each trajectory's outcome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client.connection import Connection, errors
from cli.client.output import InputFile, Json, Key, console, read_object, show, show_rows
from cli.client.watch import exit_code, render, watch

RunId = Annotated[str, typer.Argument(metavar="RUN")]
COLUMNS = ("author", "success", "interval", "trajectories", "missing", "pass^k", "known pass^k", "accuracy", "kappa")

trajectories = typer.Typer(
    name="trajectories", help="How often agents' trajectories succeed, and how reliably.", no_args_is_help=True
)


@trajectories.command("evaluate")
def evaluate(file: InputFile, key: Key = None, as_json: Json = False) -> None:
    """Judge every trajectory of a prompt set, and wait. Takes the body of POST /v1/trajectory-evaluations."""
    connection = Connection.from_environment()
    run = connection.post("/v1/trajectory-evaluations", read_object(file), key=key)
    ended = watch(connection, run["id"], errors)
    if code := exit_code(ended):
        errors.print(render(ended))
        raise typer.Exit(code)
    _present(connection, run["id"], as_json=as_json)


@trajectories.command("show")
def show_(run_id: RunId, as_json: Json = False) -> None:
    """Show what was measured: success, pass^k and agreement with known outcomes, in all and by author."""
    _present(Connection.from_environment(), run_id, as_json=as_json)


@trajectories.command("export")
def export(
    run_id: RunId,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write, JSONL; it appears whole or not at all.")
    ],
) -> None:
    """Download every trajectory's points and outcome."""
    size = Connection.from_environment().download(f"/v1/runs/{run_id}/trajectories", output, format="jsonl")
    console.print(f"{output}, {size} bytes")


def _present(connection: Connection, run_id: str, *, as_json: bool) -> None:
    found = connection.get(f"/v1/runs/{run_id}/trajectory-success")
    if as_json:
        show(found, as_json=True)
        return
    show_rows(_rows(found["metrics"]), COLUMNS, as_json=False)


def _rows(metrics: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if metrics is None:
        return
    yield _row("(all)", metrics["overall"])
    for each in metrics["authors"]:
        yield _row(each["author"] or "(not named)", each)


def _row(author: str, found: dict[str, Any]) -> dict[str, Any]:
    success, gold = found["success"], found["gold"] or {}
    return {
        "author": author,
        "success": _figure(success["rate"]),
        "interval": None if success["rate"] is None else f"{success['rate']['low']:.3f}..{success['rate']['high']:.3f}",
        "trajectories": success["trajectories"],
        "missing": success["missing"],
        "pass^k": _curve(found["pass_hat"]),
        "known pass^k": _curve(gold.get("known_pass_hat", ())),
        "accuracy": _figure(gold.get("accuracy")),
        "kappa": _figure(gold.get("kappa")),
    }


def _figure(measured: dict[str, Any] | None) -> str | None:
    return None if measured is None else f"{measured['value']:.3f}"


def _curve(found: Any) -> str | None:
    """From k = 1 on."""
    return " ".join(f"{each['value']['value']:.3f}" for each in found) or None
