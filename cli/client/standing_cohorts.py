"""Commands for standing cohorts: what production is asked, to be measured on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cli.client.connection import Connection
from cli.client.output import InputFile, Json, Key, show
from cli.client.resources import blocks, group

CohortId = Annotated[str, typer.Argument(metavar="COHORT")]

cohorts = group(
    "cohorts",
    "Standing cohorts: production's questions.",
    "/v1/standing-cohorts",
    ("id", "name", "cohort", "size", "prompt_set_id", "refreshed_at"),
)


class TraceFormat(StrEnum):
    OPENAI = "openai"
    OTEL = "otel"


@cohorts.command("create")
def create_(
    name: str,
    size: Annotated[int, typer.Option(help="Prompts in a draw, at most.")] = 200,
    maximum_age_days: Annotated[int | None, typer.Option(help="Older traces are not drawn.")] = None,
    cohort: Annotated[str, typer.Option(help="The cohort that drawn prompts have in reports.")] = "production",
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Create a standing cohort."""
    body = {"name": name, "size": size, "maximum_age_days": maximum_age_days, "cohort": cohort}
    show(Connection.from_environment().post("/v1/standing-cohorts", body, key=key), as_json=as_json)


@cohorts.command("import")
def import_(
    cohort_id: CohortId,
    file: InputFile,
    format_: Annotated[TraceFormat, typer.Option("--format", help="openai: messages; otel: OTLP JSON or spans.")],
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Upload a JSONL file of traces; what cannot serve is counted by its reason."""
    headers = {"Content-Type": "application/jsonl"} | ({"Idempotency-Key": key} if key else {})
    if file.suffix == ".gz":
        headers["Content-Encoding"] = "gzip"
    path = f"/v1/standing-cohorts/{cohort_id}/traces"
    content = blocks(file, quiet=as_json)
    params = {"format": format_.value}
    answer = Connection.from_environment().request("POST", path, params=params, headers=headers, content=content)
    show(answer.json(), as_json=as_json)


@cohorts.command("refresh")
def refresh_(cohort_id: CohortId, as_json: Json = False) -> None:
    """Draw a prompt set of the traces; where nothing changed it is the one drawn before."""
    show(Connection.from_environment().post(f"/v1/standing-cohorts/{cohort_id}:refresh"), as_json=as_json)


@cohorts.command("delete")
def delete_(cohort_id: CohortId) -> None:
    """Delete a standing cohort with its traces; prompt sets that were drawn of it stay."""
    Connection.from_environment().delete(f"/v1/standing-cohorts/{cohort_id}")
