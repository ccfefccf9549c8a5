"""The commands that run one process each: what `rlaif up` starts, and what a container's command line names."""

from __future__ import annotations

from socket import socket
from typing import Annotated

import typer

from app.rlaif.pipeline import Queue
from cli.address import local_url
from cli.exits import Exit
from cli.stack.errors import ServerUnreachable
from cli.stack.ready import announce

IO_SHARDS = 4  # they mostly wait for endpoints


def serve() -> None:
    """Serve the REST API. Address and servers come from RLAIF_HOST, RLAIF_PORT, RLAIF_DATABASE_URL."""
    import uvicorn

    from app.config import settings
    from app.main import create_app

    class AnnouncingServer(uvicorn.Server):
        async def startup(self, sockets: list[socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                announce()

    config = uvicorn.Config(
        create_app(settings()),
        host=settings().host,
        port=settings().port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server = AnnouncingServer(config)
    server.run()
    if not server.started:
        raise typer.Exit(Exit.FAILURE)


def health() -> None:
    """Ask the API of RLAIF_HOST and RLAIF_PORT whether it is ready; for a container's health check."""
    import httpx

    from app.config import settings

    url = f"{local_url(settings().host, settings().port)}/readyz"
    try:
        answer = httpx.get(url, timeout=2.5)
    except httpx.TransportError as error:
        typer.echo(f"no answer from {url}: {error!r}", err=True)
        raise typer.Exit(Exit.FAILURE) from None
    typer.echo(answer.text)
    raise typer.Exit(Exit.OK if answer.is_success else Exit.FAILURE)


def bootstrap_key(
    project: Annotated[str, typer.Option(help="Name of the project, made if there is none.")] = "default",
) -> None:
    """Print a new admin key, written straight to the database of RLAIF_DATABASE_URL; for an operator."""
    from app.config import settings
    from cli.first_key import bootstrap

    typer.echo(bootstrap(settings(), project))


def worker(
    queues: Annotated[list[Queue], typer.Option(help="Queue to serve; repeat the option for both.")],
    name: Annotated[str, typer.Option(help="Name of this worker in logs, unique on its host.")] = "worker",
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Shards at a time; 1 where gpu is served, else 4, when left out.")
    ] = None,
) -> None:
    """Run the shards of the `io` queue, the `gpu` queue, or both."""
    from celery.signals import worker_ready

    from workers.celery import app

    def note_ready(**_: object) -> None:
        announce()

    worker_ready.connect(note_ready, weak=False)
    shards = concurrency or (1 if Queue.GPU in queues else IO_SHARDS)
    identity = ("--hostname", f"{name}@%h", "--loglevel", "INFO")
    doorbell_only = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    app.worker_main(["worker", "--queues", ",".join(queues), "--concurrency", str(shards), *identity, *doorbell_only])


def relay() -> None:
    """Send what is waiting in the outbox to the broker, and find shards whose worker is gone."""
    from workers.relay import main

    announce()
    main()


def migrate() -> None:
    """Bring the database of RLAIF_DATABASE_URL to the newest schema; safe to run from several places at once."""
    from app.config import settings
    from cli.stack.schema import migrate as run_migrations

    try:
        run_migrations(settings().database_url)
    except ServerUnreachable as error:
        typer.echo(error, err=True)
        raise typer.Exit(Exit.FAILURE) from None
