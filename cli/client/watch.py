"""Live progress of a run: one line a stage, with counts, throughput, time left, loss and cost."""

from __future__ import annotations

from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.client.connection import Connection
from cli.exits import Exit

TERMINAL = ("succeeded", "failed", "cancelled")
WAIT_S = 5
COLOURS = {"succeeded": "green", "reused": "green", "running": "cyan", "failed": "red", "cancelled": "yellow"}
SHOWN = ("loss", "accuracy", "margin", "reference_kl")


def watch(connection: Connection, run_id: str, console: Console) -> dict[str, Any]:
    """Follow a run by long polls until it ends or pauses; returns its last state."""
    etag, run = "", dict[str, Any]()
    said: set[str] = set()
    with Live(console=console, refresh_per_second=4, transient=not console.is_terminal) as live:
        while not run or (run["status"] not in TERMINAL and run["status"] != "paused"):
            headers = {"If-None-Match": etag} if etag else {}
            answer = connection.request("GET", f"/v1/runs/{run_id}", params={"wait": WAIT_S}, headers=headers)
            if answer.status_code == 200:
                run, etag = answer.json(), answer.headers.get("ETag", "")
                live.update(render(run))
                _say_lines(run, said, console)
    return run


def exit_code(run: dict[str, Any]) -> Exit:
    """0 only for a run that succeeded."""
    return Exit.OK if run["status"] == "succeeded" else Exit.FAILURE


def render(run: dict[str, Any]) -> Group:
    """The state of a run as a table with bars."""
    table = Table("stage", "", "shards", "units", "rate", "left", "last metrics", "cost", box=None, pad_edge=False)
    for stage in run["stages"]:
        table.add_row(*_row(stage))
    title = Text(f"{run['id']}  {run['status']}", style=f"bold {COLOURS.get(run['status'], '')}".strip())
    return Group(title, table, Text(_reason(run), style="red"))


def _row(stage: dict[str, Any]) -> tuple[Text | ProgressBar | str, ...]:
    status = stage["status"]
    total, done = stage["total_units"], stage["done_units"]
    bar = ProgressBar(
        total=max(total, 1), completed=max(total, 1) if status in ("succeeded", "reused") else done, width=20
    )
    rate = stage.get("throughput")
    return (
        Text(_title(stage), style=COLOURS.get(status, "dim")),
        bar,
        f"{stage['done_shards']}/{stage['total_shards']}",
        f"{done}/{total}",
        f"{rate:.1f}/s" if rate else "",
        _duration(stage.get("eta_seconds")),
        _metrics(stage),
        _cost(stage),
    )


def _title(stage: dict[str, Any]) -> str:
    """A running stage names its phase, where that says more than the stage does."""
    phase = stage["phase"] if stage["status"] == "running" and stage["phase"] != stage["kind"] else ""
    return f"{_name(stage)} {stage['status']} {phase}".rstrip()


def _name(stage: dict[str, Any]) -> str:
    """With its round, but for the first."""
    return f"{stage['kind']} (round {stage['round']})" if stage["round"] else str(stage["kind"])


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def _metrics(stage: dict[str, Any]) -> str:
    metrics = stage.get("metrics") or {}
    if candidates := metrics.get("candidates"):  # of a sweep: the last one that has begun
        metrics = candidates[max(candidates, key=int)] | metrics
    shown = [f"{name} {metrics[name]:.3f}" for name in SHOWN if isinstance(metrics.get(name), int | float)]
    return "  ".join(shown)


def _cost(stage: dict[str, Any]) -> str:
    usage = stage.get("usage") or {}
    usd = float(usage.get("judge_usd") or 0)
    return (f"${usd:.4f} " if usd else "") + f"{float(usage.get('compute_seconds') or 0):.0f} s"


def _reason(run: dict[str, Any]) -> str:
    if run.get("error"):
        return f"{run['error'].get('code')}: {run['error'].get('detail')}"
    waiting = [
        f"{_name(stage)} waits: {stage['waiting_for']['detail']}" for stage in run["stages"] if stage.get("waiting_for")
    ]
    return run.get("pause_reason") or "\n".join(waiting)


def _say_lines(run: dict[str, Any], said: set[str], console: Console) -> None:
    """Where no live table can be drawn (a log, a pipe), each stage's change is a line of its own."""
    if console.is_terminal:
        return
    for stage in run["stages"]:
        line = _title(stage)
        quarter = 4 * stage["done_units"] // max(stage["total_units"], 1)
        key = f"{line} {stage['phase']} {quarter}"
        if stage["status"] != "pending" and key not in said:
            said.add(key)
            rest = (
                f"{stage['done_shards']}/{stage['total_shards']} shards  {stage['done_units']}/{stage['total_units']}"
            )
            console.print(f"{line:<28} {rest}  {_metrics(stage)}  {_duration(stage.get('eta_seconds'))}".rstrip())
