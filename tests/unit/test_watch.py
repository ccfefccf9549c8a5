"""What `--watch` shows of a run with several rounds."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from cli.client.watch import render


def stage(round_: int, kind: str, status: str, **changes: Any) -> dict[str, Any]:
    counts = {"total_units": 4, "done_units": 4 * (status == "succeeded"), "total_shards": 1, "done_shards": 0}
    return {"round": round_, "kind": kind, "status": status, "phase": kind, **counts, **changes}


def test_later_rounds_are_named_and_skipped_ones_stay_empty() -> None:
    waiting = {"detail": "the endpoint is down"}
    stages = [
        stage(0, "evaluate", "succeeded"),
        stage(1, "evaluate", "running", waiting_for=waiting),
        stage(2, "sample", "skipped"),
    ]
    console = Console(file=io.StringIO(), width=200)
    console.print(render({"id": "run_1", "status": "running", "stages": stages}))
    shown = console.file.getvalue() if isinstance(console.file, io.StringIO) else ""

    assert "evaluate succeeded" in shown
    assert "evaluate (round 1) running" in shown
    assert "sample (round 2) skipped" in shown
    assert "evaluate (round 1) waits: the endpoint is down" in shown
