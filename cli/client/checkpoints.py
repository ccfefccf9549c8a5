"""Commands for checkpoints: list, inspect, and pull weights whose digests are checked on arrival."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client.connection import Connection, errors
from cli.client.output import InputFile, Json, Key, Limit, console, read_object, show, show_rows
from cli.client.watch import exit_code, render, watch
from cli.exits import Exit

CheckpointId = Annotated[str, typer.Argument(metavar="CHECKPOINT")]

checkpoints = typer.Typer(name="checkpoints", help="Published weights.", no_args_is_help=True)


@checkpoints.command("list")
def list_(
    run: Annotated[str | None, typer.Option(help="Only this run's.")] = None, limit: Limit = 50, as_json: Json = False
) -> None:
    """List checkpoints."""
    rows = Connection.from_environment().pages("/v1/checkpoints", limit=limit, run=run)
    show_rows(
        rows,
        ("id", "run_id", "kind", "round", "candidate", "selected", "promoted", "step", "size_bytes"),
        as_json=as_json,
    )


@checkpoints.command("show")
def show_(checkpoint_id: CheckpointId, as_json: Json = False) -> None:
    """Show one: metrics, lineage, manifest."""
    show(Connection.from_environment().get(f"/v1/checkpoints/{checkpoint_id}"), as_json=as_json)


@checkpoints.command("card")
def card_(checkpoint_id: CheckpointId) -> None:
    """Print the model card, as Markdown: training, lineage, every evaluation so far."""
    answer = Connection.from_environment().request("GET", f"/v1/checkpoints/{checkpoint_id}/card")
    typer.echo(answer.text, nl=False)


@checkpoints.command("score")
def score(
    checkpoint_id: CheckpointId,
    file: InputFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write, JSONL; it appears whole or not at all.")
    ],
    key: Key = None,
) -> None:
    """Score texts with a reward model, and wait. Takes the body of POST /v1/checkpoints/{id}/scores."""
    connection = Connection.from_environment()
    run = connection.post(f"/v1/checkpoints/{checkpoint_id}/scores", read_object(file), key=key)
    ended = watch(connection, run["id"], errors)
    if code := exit_code(ended):
        errors.print(render(ended))
        raise typer.Exit(code)
    size = connection.download(f"/v1/runs/{run['id']}/rewards", output, format="jsonl")
    console.print(f"{run['id']}: {output}, {size} bytes")


@checkpoints.command("pull")
def pull_(
    checkpoint_id: CheckpointId,
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to make; it must not exist or be empty.")],
) -> None:
    """Download the weights, each file checked against its SHA-256; the directory appears whole or not at all."""
    manifest = pull(Connection.from_environment(), checkpoint_id, output)
    console.print(f"{output}: {len(manifest['files'])} files, digest {manifest['digest'][:12]}")


def pull(connection: Connection, checkpoint_id: str, output: Path) -> dict[str, Any]:
    """Download a checkpoint into a directory. Ends the command when a file differs from the manifest."""
    manifest: dict[str, Any] = connection.get(f"/v1/checkpoints/{checkpoint_id}")["manifest"]
    if output.exists() and any(output.iterdir()):
        errors.print(f"{output} exists and is not empty", style="red")
        raise typer.Exit(Exit.USAGE)
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for entry in manifest["files"]:
            _pull_file(connection, checkpoint_id, entry, partial / entry["name"])
        if output.exists():
            output.rmdir()
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _pull_file(connection: Connection, checkpoint_id: str, entry: dict[str, Any], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    connection.download(f"/v1/checkpoints/{checkpoint_id}/files/{entry['name']}", target)
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != entry["sha256"]:
        errors.print(f"{entry['name']} arrived damaged: {digest[:12]} is not {entry['sha256'][:12]}", style="red")
        raise typer.Exit(Exit.FAILURE)
