"""`rlaif demo`: the main job on this machine, through the real API, from nothing to a report and a checkpoint."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from cli.address import free_port
from cli.client.checkpoints import pull
from cli.client.connection import Connection
from cli.client.watch import exit_code, watch
from cli.exits import Exit
from cli.stack.errors import Interrupted, StackError

console = Console(soft_wrap=True, highlight=False)

BASE_MODEL = "base_model"


def demo(
    output: Annotated[Path, typer.Option(help="Where report.json and checkpoint/ are left.")] = Path("demo-output"),
    examples: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Base model, prompts, rubrics and recipe.")
    ] = Path("examples"),
) -> None:
    """Run the main job on an embedded stack, from sampling to the report, and leave nothing running."""
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="rlaif-demo-", ignore_cleanup_errors=True) as directory:
            run = _on_a_stack(Path(directory), examples, output)
    except Interrupted:
        raise typer.Exit(Exit.FAILURE) from None
    except StackError as error:
        console.print(Text(str(error), style="red"))
        raise typer.Exit(Exit.FAILURE) from None
    console.print(
        f"\n{run['status']} in {time.monotonic() - started:.0f} s; {output}/report.json, {output}/checkpoint/"
    )
    raise typer.Exit(exit_code(run))


def _on_a_stack(directory: Path, examples: Path, output: Path) -> dict[str, Any]:
    from cli.stack.home import Home  # the API's image has neither psutil nor redis
    from cli.stack.stack import Stack, StackOptions

    options = StackOptions(port=free_port("127.0.0.1"), models_dir=examples, durable=False)
    with Stack(Home.at(directory), options) as stack:
        console.print("starting PostgreSQL, Redis, API, relay and two workers")
        stack.start_all()
        connection = Connection(stack.address, stack.api_key())
        run = watch(connection, submit(connection, examples)["id"], console)
        if run["status"] == "succeeded":
            collect(connection, run["id"], output)
        else:
            console.print(Text(json.dumps(run.get("error") or run["status"], indent=2), style="red"))
        return run


def submit(connection: Connection, examples: Path) -> dict[str, Any]:
    """Upload the examples and start a run of them; each step is one request of the public API."""
    rubric = connection.post("/v1/rubrics", _json(examples / "rubric.json"))
    with (examples / "prompts.jsonl").open("rb") as prompts:
        headers = {"Content-Type": "application/jsonl"}
        uploaded = connection.request(
            "POST", "/v1/prompt-sets:upload", params={"name": "examples"}, headers=headers, content=prompts
        ).json()
    model = connection.post("/v1/models", {"name": BASE_MODEL, "source": f"local:{BASE_MODEL}"})
    judge = connection.post("/v1/judges", _json(examples / "judge.json"))
    evaluation_judge = connection.post("/v1/judges", _json(examples / "evaluation_judge.json"))
    body = {
        "name": "demo",
        "rubric": rubric["id"],
        "prompt_set": uploaded["id"],
        "base_model": model["id"],
        "judge": judge["id"],
        "evaluation_judge": evaluation_judge["id"],
        "recipe": _json(examples / "recipe.json"),
    }
    run: dict[str, Any] = connection.post("/v1/runs", body, key="demo")
    console.print(f"{run['id']}: {uploaded['train_count']} train and {uploaded['held_out_count']} held-out prompts")
    return run


def collect(connection: Connection, run_id: str, output: Path) -> None:
    """Print the report; leave it as JSON beside the policy's weights."""
    report = connection.get(f"/v1/runs/{run_id}/report")
    console.print(connection.request("GET", f"/v1/runs/{run_id}/report", params={"format": "text"}).text, markup=False)
    policy = next(row for row in connection.pages("/v1/checkpoints", run=run_id) if row["kind"] == "policy")
    output.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(output / "checkpoint", ignore_errors=True)
    pull(connection, policy["id"], output / "checkpoint")
    (output / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False), encoding="utf-8")


def _json(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded
