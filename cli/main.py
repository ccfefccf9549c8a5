"""The `rlaif` command."""

from __future__ import annotations

from collections.abc import Callable

import typer

from cli import processes
from cli.client import resources, runs
from cli.client.calibrations import calibrations, canaries
from cli.client.checkpoints import checkpoints
from cli.client.people import people
from cli.client.rubrics import rubrics
from cli.client.standing_cohorts import cohorts
from cli.client.trajectories import trajectories
from cli.demo import demo
from cli.up import up

app = typer.Typer(
    name="rlaif",
    help="RLAIF as a service: a rubric, a prompt set and a base model in; a trained checkpoint and its evidence out.",
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage, 3 the data directory is in use by another `rlaif up`, "
    "4 the service refused, 5 the service does not answer.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

for whole in (up, demo):
    app.command(rich_help_panel="Run a stack")(whole)
ONE_PROCESS: tuple[Callable[..., None], ...] = (
    processes.serve,
    processes.worker,
    processes.relay,
    processes.migrate,
    processes.health,
)
for part in ONE_PROCESS:
    app.command(rich_help_panel="Run one process")(part)

resources.keys.command("bootstrap")(processes.bootstrap_key)
for group in (
    rubrics,
    resources.prompts,
    cohorts,
    resources.models,
    resources.answers,
    resources.tasks,
    resources.judges,
    calibrations,
    canaries,
    people,
    resources.secrets,
    resources.keys,
    runs.runs,
    runs.preferences,
    checkpoints,
    trajectories,
):
    app.add_typer(group, rich_help_panel="Use a service")
app.command(rich_help_panel="Use a service")(runs.report)


if __name__ == "__main__":
    app()
