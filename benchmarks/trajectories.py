"""tau-bench's airline trajectories: whether a judge sees every tool call, and how often all of k trials succeed."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.rlaif.comparison import Order
from app.rlaif.messages import Message, Role, ToolCall
from app.rlaif.pairwise import PairQuestion
from app.rlaif.quotation import quoted
from app.rlaif.rendering import Case, ChatMessages, Response, Turns, prompt_hash
from app.rlaif.statistics import clustered_mean, pass_hat
from benchmarks.figures import Figure, show
from benchmarks.human_labels import RUBRIC

PUBLISHED = 0.42  # pass^1 on all 50 airline tasks: sierra-research/tau-bench


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One trial of a task; `prompt` ends before the assistant's first turn."""

    task: str
    succeeded: bool
    prompt: Turns
    turns: Turns

    @property
    def calls(self) -> list[ToolCall]:
        return [call for message in self.turns for call in message.tool_calls or ()]


def measure(directory: Path) -> list[Figure]:
    """Prints the table of pass^k and returns the figures."""
    trajectories = read(directory)
    by_task: dict[str, list[bool]] = defaultdict(list)
    for trajectory in trajectories:
        by_task[trajectory.task].append(trajectory.succeeded)
    first = clustered_mean(by_task, rng=np.random.default_rng(0))
    trials = min(len(outcomes) for outcomes in by_task.values())
    show(
        f"tau-bench airline, {len(by_task)} tasks",
        ("k", *(str(k) for k in range(1, trials + 1))),
        [("pass^k", *(f"{pass_hat(list(by_task.values()), k):.3f}" for k in range(1, trials + 1)))],
    )
    print(f"pass^1 {first.low:.3f}..{first.high:.3f} by tasks; published on the whole set: {PUBLISHED}")
    seen, told = _visible_calls(trajectories), _told_arguments(trajectories)
    return [
        Figure("tau_tool_calls_visible_to_the_judge", seen, ">=", 1.0),
        Figure("tau_changed_arguments_that_change_the_prompt", told, ">=", 1.0),
        Figure("tau_pass1_low_against_published", first.low, "<=", PUBLISHED),
        Figure("tau_pass1_high_against_published", first.high, ">=", PUBLISHED),
    ]


def read(directory: Path) -> list[Trajectory]:
    """Every trajectory as the service's own messages."""
    with gzip.open(directory / "tau_airline_trajectories.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [_trajectory(json.loads(line)) for line in lines]


def _trajectory(row: dict[str, object]) -> Trajectory:
    messages = tuple(Message.model_validate(message) for message in row["messages"])  # type: ignore[attr-defined]
    start = next(place for place, message in enumerate(messages) if message.role is Role.ASSISTANT)
    return Trajectory(str(row["task_id"]), row["reward"] == 1.0, messages[:start], messages[start:])


def _rendered(prompt: Turns, first: Turns, second: Turns) -> ChatMessages:
    case = Case(prompt, RUBRIC, key=b"benchmark")
    return PairQuestion(case, Response(first), Response(second), "tau", Order.AB).messages()


def _visible_calls(trajectories: list[Trajectory]) -> float:
    """The share of tool calls whose name and arguments stand in the prompt that compares two trials of the task."""
    visible = total = 0
    for trajectory in trajectories:
        shown = _rendered(trajectory.prompt, trajectory.turns, ())[1]["content"]
        for call in trajectory.calls:
            told = {"tool": call.function.name, "arguments": call.function.arguments}
            visible += quoted(told) in shown
            total += 1
    return visible / total


def _told_arguments(trajectories: list[Trajectory]) -> float:
    """The share of trajectories with calls whose prompt is another one once the last call's arguments are changed."""
    changed = [
        prompt_hash(_rendered(each.prompt, each.turns, ())) != prompt_hash(_rendered(each.prompt, _altered(each), ()))
        for each in trajectories
        if each.calls
    ]
    return sum(changed) / len(changed)


def _altered(trajectory: Trajectory) -> Turns:
    last = max(place for place, message in enumerate(trajectory.turns) if message.tool_calls)
    message = trajectory.turns[last]
    *before, call = message.tool_calls or ()
    function = call.function.model_copy(update={"arguments": '{"changed": true}'})
    calls = (*before, call.model_copy(update={"function": function}))
    altered = message.model_copy(update={"tool_calls": calls})
    return (*trajectory.turns[:last], altered, *trajectory.turns[last + 1 :])
