"""Commands for rubrics: create, revise, lint, compare, try, and run their golden examples."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.text import Text

from cli.client.connection import Connection
from cli.client.output import InputFile, Json, Key, console, read_object, show
from cli.client.resources import Name, group
from cli.client.trials import finished_trial, print_test, print_trial
from cli.exits import Exit

RubricId = Annotated[str, typer.Argument(metavar="RUBRIC")]
Number = Annotated[int, typer.Option("--revision", min=1, help="The revision's number.")]
Latest = Annotated[int | None, typer.Option("--revision", min=1, help="The revision's number; the newest.")]
Judge = Annotated[str, typer.Option(help="Id of the judge.")]
Budget = Annotated[float | None, typer.Option("--judge-usd", help="Most that it may cost, in USD.")]
_STYLES = {"removed": "red strike", "added": "green"}

rubrics = group("rubrics", "What “better” means.", "/v1/rubrics", ("id", "name", "revision.number", "created_at"))


@rubrics.command("create")
def create(file: InputFile, name: Name = None, key: Key = None, as_json: Json = False) -> None:
    """Create a rubric from a JSON file: {"name", "description", "criteria": [...]}."""
    body = read_object(file)
    body["name"] = name or body.get("name") or file.stem
    show(Connection.from_environment().post("/v1/rubrics", body, key=key), as_json=as_json)


@rubrics.command("revise")
def revise(rubric_id: RubricId, file: InputFile, key: Key = None, as_json: Json = False) -> None:
    """Add a revision; content equal to an existing revision answers that one."""
    path = f"/v1/rubrics/{rubric_id}/revisions"
    show(Connection.from_environment().post(path, _content(read_object(file)), key=key), as_json=as_json)


@rubrics.command("lint")
def lint(file: InputFile, as_json: Json = False) -> None:
    """Name what a judge cannot apply as it stands, and how to mend it. Exit status 1 when there is something."""
    found = Connection.from_environment().post("/v1/rubrics:lint", _content(read_object(file)))
    if as_json:
        show(found, as_json=True)
    else:
        _print_findings(found["findings"])
    if found["findings"]:
        raise typer.Exit(Exit.FAILURE)


@rubrics.command("diff")
def diff(
    rubric_id: RubricId,
    number: Number,
    against: Annotated[int | None, typer.Option(min=1, help="An earlier revision's number; the one before.")] = None,
    as_json: Json = False,
) -> None:
    """What changed between two revisions, to the word."""
    path = f"/v1/rubrics/{rubric_id}/revisions/{number}/diff"
    found = Connection.from_environment().get(path, against=against)
    if as_json:
        show(found, as_json=True)
        return
    for change in found["changes"]:
        console.print(f"[bold]{change['change']}[/] {change['part']} ", end="")
        console.print(change["name"], markup=False)
        for field in change["fields"]:
            console.print(_field(field))


@rubrics.command("test")
def check_golden_examples(
    rubric_id: RubricId, judge: Judge, number: Latest = None, budget: Budget = None, as_json: Json = False
) -> None:
    """Run the golden examples: does this judge, by this rubric, know what is better? Exit status 1 unless all pass."""
    connection = Connection.from_environment()
    made = connection.post(f"{_revision(connection, rubric_id, number)}:test", {"judge": judge, **_limit(budget)})
    trial = finished_trial(connection, made["id"])
    if as_json:
        show(trial, as_json=True)
    else:
        print_test(trial)
    if trial["status"] != "succeeded" or trial["golden"]["passed"] < trial["golden"]["total"]:
        raise typer.Exit(Exit.FAILURE)


@rubrics.command("try")
def try_(
    rubric_id: RubricId,
    file: InputFile,
    judge: Judge,
    number: Latest = None,
    budget: Budget = None,
    as_json: Json = False,
) -> None:
    """Try the rubric and a judge on the pair of a JSON file: {"prompt", "first", "second"}."""
    connection = Connection.from_environment()
    body = read_object(file) | {"judge": judge, **_limit(budget)}
    made = connection.post(f"{_revision(connection, rubric_id, number)}/trials", body)
    trial = finished_trial(connection, made["id"])
    if as_json:
        show(trial, as_json=True)
    else:
        print_trial(trial)
    if trial["status"] != "succeeded":
        raise typer.Exit(Exit.FAILURE)


def _revision(connection: Connection, rubric_id: str, number: int | None) -> str:
    newest = number or connection.get(f"/v1/rubrics/{rubric_id}")["revision"]["number"]
    return f"/v1/rubrics/{rubric_id}/revisions/{newest}"


def _limit(judge_usd: float | None) -> dict[str, Any]:
    return {} if judge_usd is None else {"budget": {"judge_usd": judge_usd}}


def _content(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "name"}


def _print_findings(findings: list[dict[str, Any]]) -> None:
    for finding in findings:
        about = " and ".join(name for name in (finding["criterion"], finding["other"]) if name)
        console.print(f"{about or 'rubric'}: {finding['kind']}", style="bold", markup=False)
        console.print("  " + "; ".join(finding["words"]), style="yellow", markup=False)
        console.print(f"  {finding['why']}\n  {finding['remedy']}", markup=False)
    console.print(f"{len(findings)} found")


def _field(field: dict[str, Any]) -> Text:
    line = Text(f"  {field['field']}: ")
    for word in field["words"]:
        line.append(word["text"], _STYLES.get(word["edit"], ""))
    if not field["words"]:
        line.append(json.dumps(field["before"], ensure_ascii=False), _STYLES["removed"])
        line.append(" ")
        line.append(json.dumps(field["after"], ensure_ascii=False), _STYLES["added"])
    return line
