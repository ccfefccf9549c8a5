"""Commands for calibrations and canaries: measure a judge on people's labels, and keep an eye on it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from cli.client.connection import Connection
from cli.client.output import Json, Key, show
from cli.client.resources import group
from cli.exits import Exit

WAIT_S = 30
_RESTING = ("paused", "succeeded", "failed", "cancelled")
Id = Annotated[str, typer.Argument(metavar="ID")]


class Format(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"


calibrations = group(
    "calibrations",
    "Judges, held against people's labels.",
    "/v1/calibrations",
    ("id", "name", "judge_id", "measured", "created_at"),
)
canaries = group(
    "canaries",
    "Calibrations repeated on a schedule: has a judge changed?",
    "/v1/canaries",
    ("id", "name", "baseline_id", "every_hours", "next_due_at"),
)


@calibrations.command("create")
def calibrate(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    judge: Annotated[str, typer.Option(help="Id of the judge, panel or cascade.")],
    rubric: Annotated[str, typer.Option(help="Id of the rubric (its newest revision) or of a revision.")],
    labels: Annotated[str, typer.Option(help="Id of the labelled prompt set.")],
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many prompts.")] = None,
    budget: Annotated[float | None, typer.Option("--judge-usd", help="Most that it may cost, in USD.")] = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Measure a judge and wait for its report. Exit status 1 when it could not be measured."""
    connection = Connection.from_environment()
    body: dict[str, Any] = {
        "name": name,
        "judge": judge,
        "rubric_revision_id": _revision(connection, rubric),
        "prompt_set": labels,
        "limit": limit,
        "budget": {"judge_usd": budget},
    }
    made = connection.post("/v1/calibrations", body, key=key)
    found = _rested(connection, made["id"])
    if as_json:
        show(found, as_json=True)
    elif found["measured"]:
        _print_report(connection, found["id"], Format.TEXT)
    else:
        show({**found, "report": None}, as_json=False)
    if not found["measured"]:
        raise typer.Exit(Exit.FAILURE)


@calibrations.command("report")
def report(
    id_: Id, format_: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TEXT
) -> None:
    """Print what was measured, each figure with its interval."""
    _print_report(Connection.from_environment(), id_, format_)


@canaries.command("create")
def watch(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    baseline: Annotated[str, typer.Option(help="Id of the measured calibration to compare with.")],
    every_hours: Annotated[int, typer.Option(min=1, help="How often.")] = 24,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Repeat a calibration on a schedule."""
    body = {"name": name, "baseline": baseline, "every_hours": every_hours}
    show(Connection.from_environment().post("/v1/canaries", body, key=key), as_json=as_json)


@canaries.command("stop")
def stop(id_: Id, as_json: Json = False) -> None:
    """Begin nothing new; the history stays."""
    show(Connection.from_environment().post(f"/v1/canaries/{id_}:stop"), as_json=as_json)


def _revision(connection: Connection, rubric: str) -> str:
    if rubric.startswith("rubric_"):
        return str(connection.get(f"/v1/rubrics/{rubric}")["revision"]["id"])
    return rubric


def _rested(connection: Connection, calibration_id: str) -> dict[str, Any]:
    """The calibration once nothing more happens by itself: a paused one waits for a person."""
    while True:
        found: dict[str, Any] = connection.get(f"/v1/calibrations/{calibration_id}", wait=WAIT_S)
        if found["status"] in _RESTING:
            return found


def _print_report(connection: Connection, calibration_id: str, format_: Format) -> None:
    path = f"/v1/calibrations/{calibration_id}/report"
    typer.echo(connection.request("GET", path, params={"format": format_.value}).text.rstrip("\n"))
