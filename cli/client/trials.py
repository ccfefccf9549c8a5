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
    for pair in trial["pairs"]:
        for answer in pair["answers"]:
            about = f"order {answer['order']}" + (f", {answer['criterion']}" if answer["criterion"] else "")
            sure = "" if answer["probability"] is None else f" ({answer['probability']:.3f} that first is better)"
            _print_answer(f"{about}: {answer['invalid_reason'] or answer['answer'] + sure}", answer["asked"])
            if answer["scores"]:
                console.print(f"  scores of first and second: {answer['scores']}", markup=False)
            for note in answer["notes"] or ():
                console.print(f"  {note['side']} response, turn {note['turn']}: {note['note']}", markup=False)
        for rating in pair["ratings"]:
            points = rating["invalid_reason"] or f"{rating['points']:.2f} of 10"
            _print_answer(f"{rating['response']} response, order {rating['order']}: {points}", rating["asked"])
        if pair["probability"] is not None:
            console.print(f"{pair['probability']:.3f} that first is better, after both orders", style="bold")


def _print_answer(heading: str, asked: dict[str, Any]) -> None:
    console.print(heading, style="bold", markup=False)
    console.print(
        f"  {asked['prompt_tokens']} + {asked['completion_tokens']} tokens, {asked['cost_usd']:.6f} USD, "
        f"{asked['latency_s']:.2f} s, {asked['attempts']} attempts",
        markup=False,
    )
    for message in asked["messages"] or ():
        console.print(f"--- {message['role']}\n{message['content']}", style="dim", markup=False)
    if asked["raw_text"] is not None:
        console.print(f"--- reply\n{asked['raw_text']}", markup=False)


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
