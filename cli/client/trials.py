"""A trial as a person reads it, followed to its end."""

from __future__ import annotations

from typing import Any

from cli.client.connection import Connection
from cli.client.output import console

WAIT_S = 30
_RESTING = ("paused", "succeeded", "failed", "cancelled")
_COLOURS = {"passed": "green", None: "dim"}


def finished_trial(connection: Connection, trial_id: str) -> dict[str, Any]:
    """The trial once it rests: a paused one waits for a person."""
    while True:
        trial: dict[str, Any] = connection.get(f"/v1/trials/{trial_id}", wait=WAIT_S)
        if trial["status"] in _RESTING:
            return trial


def print_trial(trial: dict[str, Any]) -> None:
    """Each answer: order, verdict, what it took, and the question as it was put."""
    _print_end(trial)
    for answer in (answer for pair in trial["pairs"] for answer in pair["answers"]):
        probability = "" if answer["probability"] is None else f" ({answer['probability']:.3f} that first is better)"
        verdict = answer["invalid_reason"] or f"{answer['answer']}{probability}"
        console.print(f"order {answer['order']}: {verdict}", style="bold", markup=False)
        console.print(
            f"  {answer['prompt_tokens']} + {answer['completion_tokens']} tokens, {answer['cost_usd']:.6f} USD, "
            f"{answer['latency_s']:.2f} s, {answer['attempts']} attempts",
            markup=False,
        )
        if answer["scores"]:
            console.print(f"  scores of first and second: {answer['scores']}", markup=False)
        for message in answer["messages"] or ():
            console.print(f"--- {message['role']}\n{message['content']}", style="dim", markup=False)
        if answer["raw_text"] is not None:
            console.print(f"--- reply\n{answer['raw_text']}", markup=False)


def print_test(trial: dict[str, Any]) -> None:
    """Each golden example: passed, or why not."""
    _print_end(trial)
    for golden in (pair["golden"] for pair in trial["pairs"]):
        outcome = golden["outcome"]
        line = f"{outcome or 'waiting'}  {golden['name']}" + (f": {golden['why']}" if outcome != "passed" else "")
        console.print(line, style=_COLOURS.get(outcome, "red"), markup=False)
    console.print(f"{trial['golden']['passed']} of {trial['golden']['total']} passed, {trial['cost_usd']:.6f} USD")


def _print_end(trial: dict[str, Any]) -> None:
    if trial["status"] != "succeeded":
        why = (trial["error"] or {}).get("detail") or trial["pause_reason"] or ""
        console.print(f"{trial['id']} {trial['status']}: {why}", style="red", markup=False)
