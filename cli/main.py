"""The `rlaif` command."""

from __future__ import annotations

import typer

from cli import processes
from cli.up import up

app = typer.Typer(
    name="rlaif",
    help="RLAIF as a service: a rubric, a prompt set and a base model in; a trained checkpoint and its evidence out.",
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage, 3 the data directory is in use by another `rlaif up`.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command(rich_help_panel="Run a stack")(up)
for command in (processes.serve, processes.worker, processes.relay, processes.migrate):
    app.command(rich_help_panel="Run one process")(command)


if __name__ == "__main__":
    app()
