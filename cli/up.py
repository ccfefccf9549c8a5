"""`rlaif up`: the whole stack on this machine until ctrl-C."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from cli.address import free_port
from cli.exits import Exit
from cli.stack.errors import AlreadyRunning, Interrupted, StackError


def up(
    data_dir: Annotated[Path, typer.Option(help="Where everything is kept; made on first use.")] = Path("rlaif-data"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8000,
    database_url: Annotated[
        str | None,
        typer.Option(envvar="RLAIF_DATABASE_URL", help="A PostgreSQL of your own, postgresql+psycopg://..."),
    ] = None,
    redis_url: Annotated[
        str | None, typer.Option(envvar="RLAIF_REDIS_URL", help="A Redis of your own, redis://... or unix:///path")
    ] = None,
    io_workers: Annotated[int, typer.Option(min=0, help="Workers that judge and prefer.")] = 1,
    gpu_workers: Annotated[int, typer.Option(min=0, help="Workers that sample and train.")] = 1,
    models_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="RLAIF_MODELS_DIR", exists=True, file_okay=False, help="Base models, named by `local:NAME`."
        ),
    ] = None,
) -> None:
    """Run PostgreSQL, Redis, the API, the relay and the workers here, restart what dies, stop all on ctrl-C."""
    from cli.stack import foreground  # the API's image has neither psutil nor redis
    from cli.stack.home import Home
    from cli.stack.stack import Stack, StackOptions

    options = StackOptions(
        database_url=database_url,
        redis_url=redis_url,
        host=host,
        port=port or free_port(host),
        io_workers=io_workers,
        gpu_workers=gpu_workers,
        models_dir=models_dir,
    )
    console = Console(soft_wrap=True, highlight=False)
    try:
        foreground.run(Stack(Home.at(data_dir), options), console)
    except Interrupted:
        console.print("stopped")
    except StackError as error:
        console.print(Text(str(error), style="red"))
        raise typer.Exit(Exit.ALREADY_RUNNING if isinstance(error, AlreadyRunning) else Exit.FAILURE) from None
