"""Commands for what a client brings: prompt sets, models, judges, secrets, keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import wrap_file

from cli.client.connection import Connection
from cli.client.output import InputFile, Json, Key, Limit, console, read_object, show, show_rows

Name = Annotated[str | None, typer.Option(help="Name, unique in the project; the file's name when left out.")]


def group(name: str, help_text: str, path: str, columns: Sequence[str]) -> typer.Typer:
    """A command group with `list` and `show`, which every resource has."""
    commands = typer.Typer(name=name, help=help_text, no_args_is_help=True)

    @commands.command("list")
    def list_(limit: Limit = 50, as_json: Json = False) -> None:
        """List them, newest first."""
        show_rows(Connection.from_environment().pages(path, limit=limit), columns, as_json=as_json)

    @commands.command("show")
    def show_(id_: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
        """Show one."""
        show(Connection.from_environment().get(f"{path}/{id_}"), as_json=as_json)

    return commands


prompts = group("prompts", "Prompt sets.", "/v1/prompt-sets", ("id", "name", "train_count", "held_out_count", "digest"))
models = group(
    "models", "Base models and checkpoints.", "/v1/models", ("id", "name", "kind", "architecture", "parameters")
)
answers = group(
    "answers", "Answers of judges, to be replayed.", "/v1/answer-sets", ("id", "name", "answer_count", "digest")
)
tasks = group("tasks", "Capability tasks.", "/v1/tasks", ("id", "name", "document_count", "digest", "created_at"))
judges = group("judges", "AI annotators.", "/v1/judges", ("id", "name", "kind", "family", "created_at"))


@prompts.command("upload")
def upload_prompts(file: InputFile, name: Name = None, key: Key = None, as_json: Json = False) -> None:
    """Upload a JSONL file of prompts, streamed; a bad line rejects the whole file and names every bad line."""
    _upload_lines("/v1/prompt-sets:upload", file, name=name, key=key, as_json=as_json)


@prompts.command("download")
def download_prompts(
    id_: Annotated[str, typer.Argument(metavar="ID")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
) -> None:
    """Download a prompt set as JSONL."""
    size = Connection.from_environment().download(f"/v1/prompt-sets/{id_}/prompts", output, format="jsonl")
    console.print(f"{output}: {size} bytes")


@answers.command("upload")
def upload_answers(file: InputFile, name: Name = None, key: Key = None, as_json: Json = False) -> None:
    """Upload a JSONL file of stored answers, such as exported verdicts, for a judge of kind `replay`."""
    _upload_lines("/v1/answer-sets", file, name=name, key=key, as_json=as_json)


def _upload_lines(path: str, file: Path, *, name: str | None, key: str | None, as_json: bool) -> None:
    headers = {"Content-Type": "application/jsonl"} | ({"Idempotency-Key": key} if key else {})
    if file.suffix == ".gz":
        headers["Content-Encoding"] = "gzip"
    query = {"name": name or file.name.split(".")[0]}
    content = blocks(file, quiet=as_json)
    answer = Connection.from_environment().request("POST", path, params=query, headers=headers, content=content)
    show(answer.json(), as_json=as_json)


@tasks.command("create")
def create_task(file: InputFile, name: Name = None, key: Key = None, as_json: Json = False) -> None:
    """Create a task: a JSON file {"config", "documents"}, or JSONL with the config in its first line, streamed."""
    if ".jsonl" in file.suffixes:
        _upload_lines("/v1/tasks:upload", file, name=name, key=key, as_json=as_json)
        return
    body = read_object(file)
    body["name"] = name or body.get("name") or file.stem
    show(Connection.from_environment().post("/v1/tasks", body, key=key), as_json=as_json)


@models.command("register")
def register_model(
    source: Annotated[str, typer.Argument(help="`local:NAME`, a directory of the operator's models directory.")],
    name: Annotated[str | None, typer.Option(help="Name, unique in the project.")] = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Register and validate a base model; it is refused with the reason when it could not be used."""
    body = {"name": name or source.split(":", 1)[-1], "source": source}
    show(Connection.from_environment().post("/v1/models", body, key=key), as_json=as_json)


@models.command("upload")
def upload_model(file: InputFile, name: Name = None, key: Key = None, as_json: Json = False) -> None:
    """Upload a base model as a tar of its directory (config.json, *.safetensors, tokenizer files)."""
    headers = {"Content-Type": "application/x-tar"} | ({"Idempotency-Key": key} if key else {})
    answer = Connection.from_environment().request(
        "POST",
        "/v1/models:upload",
        params={"name": name or file.name.split(".")[0]},
        headers=headers,
        content=blocks(file, quiet=as_json),
    )
    show(answer.json(), as_json=as_json)


@judges.command("create")
def create_judge(file: InputFile, name: Name = None, key: Key = None, as_json: Json = False) -> None:
    """Create a judge from a JSON file: {"name", "spec": {"kind": "checks" | "openai" | "anthropic" | ..., ...}}."""
    body = read_object(file)
    body["name"] = name or body.get("name") or file.stem
    show(Connection.from_environment().post("/v1/judges", body, key=key), as_json=as_json)


def blocks(file: Path, *, quiet: bool) -> Iterator[bytes]:
    """A file to be sent piece by piece, with its progress on a terminal unless `quiet`."""
    with file.open("rb") as raw:
        if quiet or not console.is_terminal:
            yield from iter(lambda: raw.read(1 << 20), b"")
            return
        with wrap_file(raw, file.stat().st_size, description=file.name, console=console) as reader:
            yield from iter(lambda: reader.read(1 << 20), b"")


secrets = typer.Typer(name="secrets", help="Judges' API keys: write-only, bound to a host.", no_args_is_help=True)


@secrets.command("set")
def set_secret(
    name: str,
    host: Annotated[str, typer.Option(help="The only host this secret is ever sent to.")],
    value: Annotated[
        str, typer.Option(prompt=True, hide_input=True, envvar="RLAIF_SECRET_VALUE", help="Asked for when left out.")
    ],
) -> None:
    """Store a secret; it can be deleted, never read."""
    body = {"name": name, "host": host, "value": value}
    show(Connection.from_environment().post("/v1/secrets", body), as_json=False)


@secrets.command("list")
def list_secrets(limit: Limit = 50, as_json: Json = False) -> None:
    """List names and hosts."""
    rows = Connection.from_environment().pages("/v1/secrets", limit=limit)
    show_rows(rows, ("id", "name", "host", "created_at"), as_json=as_json)


@secrets.command("delete")
def delete_secret(id_: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Delete a secret."""
    Connection.from_environment().delete(f"/v1/secrets/{id_}")


keys = typer.Typer(name="keys", help="API keys of the project.", no_args_is_help=True)


@keys.command("create")
def create_key(
    name: str,
    scope: Annotated[list[str], typer.Option(help="read, write or admin; repeat for several.")],
    as_json: Json = False,
) -> None:
    """Create a key; it is shown this once."""
    body: dict[str, Any] = {"name": name, "scopes": scope}
    show(Connection.from_environment().post("/v1/keys", body), as_json=as_json)


@keys.command("list")
def list_keys(limit: Limit = 50, as_json: Json = False) -> None:
    """List keys, without their secrets."""
    rows = Connection.from_environment().pages("/v1/keys", limit=limit)
    show_rows(rows, ("id", "name", "hint", "scopes", "expires_at", "revoked_at"), as_json=as_json)


@keys.command("revoke")
def revoke_key(id_: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Revoke a key at once."""
    Connection.from_environment().delete(f"/v1/keys/{id_}")
