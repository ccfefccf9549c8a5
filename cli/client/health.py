"""`rlaif health`: is a service ready? Used by container health checks."""

from __future__ import annotations

from typing import Annotated

import httpx
import typer

from cli.client.connection import DEFAULT_URL, errors
from cli.exits import Exit


def health(
    url: Annotated[str, typer.Option(envvar="RLAIF_URL", help="Address of the service; needs no key.")] = DEFAULT_URL,
) -> None:
    """Exit 0 when the service and its database are ready, 1 when not, 5 when nothing answers."""
    try:
        answer = httpx.get(f"{url}/readyz", timeout=2.5)
    except httpx.TransportError as error:
        errors.print(f"no answer from {url}: {type(error).__name__}", style="red")
        raise typer.Exit(Exit.UNREACHABLE) from error
    if answer.status_code != httpx.codes.OK:
        errors.print(answer.text, style="red")
        raise typer.Exit(Exit.FAILURE)
