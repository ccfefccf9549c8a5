"""Commands for runs: create, watch, steer, and read what they produced."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client.connection import Connection, errors
from cli.client.output import InputFile, Json, Key, Limit, console, read_object, show, show_rows, write_text
from cli.client.watch import exit_code, render, watch

RunId = Annotated[str, typer.Argument(metavar="RUN")]
Watch = Annotated[bool, typer.Option("--watch", help="Follow until the run ends; exit status 1 unless it succeeded.")]
COLUMNS = ("id", "name", "status", "created_at", "finished_at")

ESTIMATED = ("stage", "judge", "calls", "prompt_tokens", "usd", "seconds")

runs = typer.Typer(name="runs", help="Runs: one execution of a recipe each.", no_args_is_help=True)


@runs.command("create")
def create(file: InputFile, follow: Watch = False, key: Key = None, as_json: Json = False) -> None:
    """Create a run from a JSON file: the body of POST /v1/runs, parts by id or inline."""
    connection = Connection.from_environment()
    _present(connection, connection.post("/v1/runs", read_object(file), key=key), follow=follow, as_json=as_json)


@runs.command("estimate")
def estimate(file: InputFile, as_json: Json = False) -> None:
    """What a run would take: calls, tokens, money, time. Takes the file of `runs create` and stores nothing."""
    found = Connection.from_environment().post("/v1/runs:estimate", read_object(file))
    if as_json:
        show(found, as_json=True)
        return
    rows = [_estimated(stage, judge) for stage in found["stages"] for judge in stage["judges"] or (None,)]
    show_rows([*rows, _estimated({"stage": "in all", **found}, found)], ESTIMATED, as_json=False)


@runs.command("list")
def list_(
    limit: Limit = 50,
    status: Annotated[str | None, typer.Option(help="Only runs in this status.")] = None,
    as_json: Json = False,
) -> None:
    """List runs."""
    show_rows(Connection.from_environment().pages("/v1/runs", limit=limit, status=status), COLUMNS, as_json=as_json)


@runs.command("get")
def get(run_id: RunId, follow: Watch = False, as_json: Json = False) -> None:
    """Show one run: status, stages, throughput, time left, cost."""
    connection = Connection.from_environment()
    _present(connection, connection.get(f"/v1/runs/{run_id}"), follow=follow, as_json=as_json)


@runs.command("cancel")
def cancel(run_id: RunId, as_json: Json = False) -> None:
    """Cancel a run; its children are gone within ten seconds."""
    _steer(run_id, "cancel", as_json=as_json)


@runs.command("pause")
def pause(run_id: RunId, as_json: Json = False) -> None:
    """Pause a run; what runs now is saved and given back."""
    _steer(run_id, "pause", as_json=as_json)


@runs.command("resume")
def resume(
    run_id: RunId,
    judge_usd: Annotated[float | None, typer.Option(help="New budget for judges, in USD.")] = None,
    compute_seconds: Annotated[float | None, typer.Option(help="New budget of compute seconds.")] = None,
    as_json: Json = False,
) -> None:
    """Go on with a paused run, with a higher budget where that was the reason."""
    budget = {"judge_usd": judge_usd, "compute_seconds": compute_seconds}
    given = {name: value for name, value in budget.items() if value is not None}
    _steer(run_id, "resume", as_json=as_json, body={"budget": given} if given else None)


@runs.command("retry")
def retry(run_id: RunId, as_json: Json = False) -> None:
    """Try a failed run's failed shards again; nothing that succeeded is repeated."""
    _steer(run_id, "retry", as_json=as_json)


@runs.command("events")
def events(run_id: RunId, limit: Limit = 200, as_json: Json = False) -> None:
    """What happened, in order."""
    rows = Connection.from_environment().pages(f"/v1/runs/{run_id}/events", limit=limit)
    show_rows(rows, ("id", "created_at", "type", "data"), as_json=as_json)


@runs.command("metrics")
def metrics(run_id: RunId, limit: Limit = 1000, as_json: Json = False) -> None:
    """Training metrics, a row a step."""
    rows = Connection.from_environment().pages(f"/v1/runs/{run_id}/metrics", limit=limit)
    show_rows(rows, ("stage", "round", "candidate", "step", "data"), as_json=as_json)


@runs.command("usage")
def usage(run_id: RunId, as_json: Json = False) -> None:
    """What the run cost, by stage."""
    show(Connection.from_environment().get(f"/v1/runs/{run_id}/usage"), as_json=as_json)


class Result(StrEnum):
    REVISIONS = "revisions"
    COMPLETIONS = "completions"
    COMPARISONS = "comparisons"
    VERDICTS = "verdicts"
    PREFERENCES = "preferences"


class Format(StrEnum):
    JSONL = "jsonl"
    PARQUET = "parquet"
    TRL = "trl"
    OPENAI = "openai"


Output = Annotated[Path, typer.Option("--output", "-o", help="File to write; it appears whole or not at all.")]


@runs.command("export")
def export(
    run_id: RunId, what: Result, output: Output, format_: Annotated[Format, typer.Option("--format")] = Format.JSONL
) -> None:
    """Download revisions, completions, comparisons, verdicts or preferences of a run."""
    _export(run_id, what, output, format_)


preferences = typer.Typer(name="preferences", help="What is believed of each comparison.", no_args_is_help=True)


@preferences.command("export")
def export_preferences(
    run_id: RunId,
    output: Output,
    format_: Annotated[
        Format, typer.Option("--format", help="trl: prompt/chosen/rejected; openai: fine-tuning.")
    ] = Format.JSONL,
) -> None:
    """Download a run's preferences."""
    _export(run_id, Result.PREFERENCES, output, format_)


class ReportFormat(StrEnum):
    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
    HTML = "html"


def report(
    run_id: RunId,
    format_: Annotated[
        ReportFormat, typer.Option("--format", help="All but json are for people; html has plots.")
    ] = ReportFormat.TEXT,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead of printing.")] = None,
) -> None:
    """The evidence: is the checkpoint better, how sure is that, what was dropped, what did it cost."""
    answer = Connection.from_environment().request("GET", f"/v1/runs/{run_id}/report", params={"format": format_.value})
    if output:
        write_text(output, answer.text)
    else:
        print(answer.text)


def _estimated(stage: dict[str, Any], judge: dict[str, Any] | None) -> dict[str, str]:
    """A row; what one judge takes where there is one."""
    part = judge or stage
    return {
        "stage": f"{stage['stage']} (round {stage['round']})" if stage.get("round") else stage["stage"],
        "judge": part.get("name", ""),
        "calls": str(part.get("calls", "")),
        **{name: _span(part.get(name), digits) for name, digits in (("prompt_tokens", 0), ("usd", 2), ("seconds", 0))},
    }


def _span(span: dict[str, float] | None, digits: int) -> str:
    """Expected, and from where to where."""
    if span is None:
        return "unknown"
    low, expected, high = (f"{span[name]:.{digits}f}" for name in ("low", "expected", "high"))
    return f"{expected} ({low} to {high})"


def _export(run_id: str, what: Result, output: Path, format_: Format) -> None:
    size = Connection.from_environment().download(f"/v1/runs/{run_id}/{what}", output, format=format_.value)
    console.print(f"{output}: {size} bytes")


def _steer(run_id: str, verb: str, *, as_json: bool, body: dict[str, Any] | None = None) -> None:
    connection = Connection.from_environment()
    _present(connection, connection.post(f"/v1/runs/{run_id}:{verb}", body), follow=False, as_json=as_json)


def _present(connection: Connection, run: dict[str, Any], *, follow: bool, as_json: bool) -> None:
    """The run, after following it if asked to. With JSON, standard output holds the document alone."""
    if follow:
        shown = errors if as_json else console
        shown.print(f"{run['id']}  {run['name']}")
        run = watch(connection, run["id"], shown)
    if as_json:
        show(run, as_json=True)
    else:
        console.print(render(run))
    if follow and (code := exit_code(run)):
        raise typer.Exit(code)
