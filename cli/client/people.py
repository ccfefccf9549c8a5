"""Commands for people's answers: queues, what is put into them, and a person at the terminal who answers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client.connection import Connection
from cli.client.output import InputFile, Json, Key, console, read_object, show
from cli.client.resources import Name, blocks, group

QueueId = Annotated[str, typer.Argument(metavar="QUEUE")]
PATH = "/v1/annotation-queues"
SKIPS = ("unclear", "unqualified", "broken", "harmful", "other")
_PRESSES = {"a": "A", "b": "B", "t": "TIE"}

people = group("annotations", "What people answer.", PATH, ("id", "name", "annotators_per_item", "items"))


@people.command("create")
def create(file: InputFile, name: Name = None, key: Key = None, as_json: Json = False) -> None:
    """Create a queue from a JSON file: {"name", "rubric", "annotators_per_item", ...}."""
    body = read_object(file)
    body["name"] = name or body.get("name") or file.stem
    show(Connection.from_environment().post(PATH, body, key=key), as_json=as_json)


@people.command("route")
def route(
    queue_id: QueueId,
    run: Annotated[str, typer.Option(help="Id of the run whose verdicts choose.")],
    limit: Annotated[int, typer.Option(min=1, help="At most so many comparisons.")],
    by: Annotated[list[str], typer.Option(help="Reason, perhaps with its share: `low_margin` or `random=0.2`.")],
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Put comparisons of a run into the queue, chosen by what the judges said of them."""
    shares = [{"reason": reason, "share": float(share or 1)} for reason, _, share in (one.partition("=") for one in by)]
    body = {"run": run, "limit": limit, "by": shares}
    show(Connection.from_environment().post(f"{PATH}/{queue_id}:route", body, key=key), as_json=as_json)


@people.command("answer")
def answer(
    queue_id: QueueId,
    annotator: Annotated[str, typer.Option(help="Your name, always the same.")],
    adjudicate: Annotated[bool, typer.Option(help="Have the last word where others disagree.")] = False,
) -> None:
    """Answer one item after another: a, b, t for a tie, s to skip, q to stop."""
    connection = Connection.from_environment()
    body = {"annotator": annotator, "adjudicate": adjudicate}
    while True:
        claimed = connection.request("POST", f"{PATH}/{queue_id}/claims", json=body)
        if not claimed.content:
            console.print("nothing to answer now")
            return
        if not _answered(connection, queue_id, claimed.json()):
            return


def _answered(connection: Connection, queue_id: str, claim: dict[str, Any]) -> bool:
    """Whether the person goes on."""
    path, token = f"{PATH}/{queue_id}/claims/{claim['id']}", {"token": claim["token"]}
    _print_question(claim)
    began = time.monotonic()
    pressed = _asked("a, b, t(ie), s(kip) or q(uit)", (*_PRESSES, "s", "q"))
    if pressed == "q":
        connection.request("POST", f"{path}:release", json=token)
        return False
    given: dict[str, Any] = token | {"seconds": round(time.monotonic() - began, 1)}
    if pressed == "s":
        given |= {"answer": "skip", "skip_reason": _asked(f"why: {', '.join(SKIPS)}", SKIPS)}
    else:
        given["answer"] = _PRESSES[pressed]
    connection.post(f"{path}:answer", given)
    return True


def _print_question(claim: dict[str, Any]) -> None:
    question = claim["question"]
    console.rule("prompt")
    for message in question["messages"]:
        console.print(f"{message['role']}: {_plain(message.get('content') or message)}", markup=False)
    for letter in ("a", "b"):
        console.rule(letter.upper())
        console.print(_plain(question[letter]), markup=False)
    console.rule()
    for criterion in [*claim["rubric"]["criteria"], *question["criteria"]]:
        console.print(f"- {criterion['name']}: {criterion['description']}", markup=False)
    if claim["instructions"]:
        console.print(claim["instructions"], markup=False)


def _plain(content: Any) -> str:
    """A text without what a terminal would obey; a trajectory as JSON."""
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1)
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")


def _asked(question: str, allowed: tuple[str, ...]) -> str:
    while (pressed := str(typer.prompt(question)).strip().lower()) not in allowed:
        console.print(f"one of {', '.join(allowed)}")
    return pressed


@people.command("upload")
def upload(queue_id: QueueId, file: InputFile, key: Key = None, as_json: Json = False) -> None:
    """Upload labels as JSONL, streamed; a bad line rejects the whole file and names every bad line."""
    headers = {"Content-Type": "application/jsonl"} | ({"Idempotency-Key": key} if key else {})
    if file.suffix == ".gz":
        headers["Content-Encoding"] = "gzip"
    path = f"{PATH}/{queue_id}/annotations:upload"
    sent = Connection.from_environment().request("POST", path, headers=headers, content=blocks(file, quiet=as_json))
    show(sent.json(), as_json=as_json)


@people.command("download")
def download(
    queue_id: QueueId,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
) -> None:
    """Download everybody's answers as JSONL."""
    path = f"{PATH}/{queue_id}/annotations"
    size = Connection.from_environment().download(path, output, format="jsonl")
    console.print(f"{output}: {size} bytes")


@people.command("agreement")
def agreement(queue_id: QueueId, as_json: Json = False) -> None:
    """Show how far people agree."""
    found = Connection.from_environment().get(f"{PATH}/{queue_id}/agreement")
    show(found, as_json=as_json, fields=("items", "alpha", "raw", "annotators"))


@people.command("snapshot")
def snapshot(queue_id: QueueId, name: str, key: Key = None, as_json: Json = False) -> None:
    """Make a labelled prompt set of what people have settled."""
    body = {"name": name}
    show(Connection.from_environment().post(f"{PATH}/{queue_id}/snapshots", body, key=key), as_json=as_json)
