"""The connection to a service: its address, its key, and the service's refusals as readable ends of a command."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import typer
from rich.console import Console

from cli.exits import Exit

DEFAULT_URL = "http://127.0.0.1:8000"
KEY_FILE = Path("rlaif-data/api-key")
TIMEOUT = httpx.Timeout(30.0, read=120.0)

errors = Console(stderr=True, soft_wrap=True, highlight=False)


class Refused(typer.Exit):
    """Raised when the service answered with a problem; it has been printed. Exit status 4, or 5 when unreachable."""


class Connection:
    """A project's view of one service."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT)

    @classmethod
    def from_environment(cls) -> Connection:
        """RLAIF_URL and RLAIF_API_KEY, or the key that `rlaif up` left in ./rlaif-data/api-key."""
        key = os.environ.get("RLAIF_API_KEY") or (KEY_FILE.read_text().strip() if KEY_FILE.is_file() else "")
        if not key:
            errors.print(f"no API key: set RLAIF_API_KEY, or run where `rlaif up` left {KEY_FILE}", style="red")
            raise Refused(Exit.USAGE)
        return cls(os.environ.get("RLAIF_URL", DEFAULT_URL), key)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request. Raises Refused, with the problem printed."""
        try:
            answer = self.http.request(method, path, **options)
        except httpx.TransportError as error:
            errors.print(f"no answer from {self.http.base_url}: {type(error).__name__} {error}", style="red")
            raise Refused(Exit.UNREACHABLE) from error
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            refuse(answer)
        return answer

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path; None-valued query parameters are left out."""
        return self.request("GET", path, params=_given(query)).json()

    def post(self, path: str, body: Any = None, *, key: str | None = None, **query: Any) -> Any:
        """Send JSON. `key` is the Idempotency-Key, so that a retried command creates nothing twice."""
        headers = {"Idempotency-Key": key} if key else {}
        return self.request("POST", path, json=body, params=_given(query), headers=headers).json()

    def delete(self, path: str) -> None:
        self.request("DELETE", path)

    def pages(self, path: str, *, limit: int | None = None, **query: Any) -> Iterator[dict[str, Any]]:
        """Every row of a keyset-paged list, or the first `limit`."""
        after: str | None = None
        left = limit
        while left is None or left > 0:
            page = self.get(path, after=after, limit=min(200, left or 200), **query)
            yield from page["data"]
            left = None if left is None else left - len(page["data"])
            after = page["after"]
            if not page["has_more"]:
                return

    def download(self, path: str, target: Path, **query: Any) -> int:
        """Stream a body to a file, which appears whole or not at all. Returns its size in bytes."""
        partial = target.with_name(target.name + ".partial")
        try:
            with self.http.stream("GET", path, params=_given(query)) as answer, partial.open("wb") as file:
                if answer.status_code >= httpx.codes.BAD_REQUEST:
                    answer.read()
                    refuse(answer)
                for chunk in answer.iter_bytes():
                    file.write(chunk)
            partial.replace(target)
        except httpx.TransportError as error:
            errors.print(f"the download of {path} broke off: {error}", style="red")
            raise Refused(Exit.UNREACHABLE) from error
        except OSError as error:
            errors.print(f"{target} cannot be written: {error.strerror}", style="red")
            raise typer.Exit(Exit.USAGE) from error
        finally:
            partial.unlink(missing_ok=True)
        return target.stat().st_size


def refuse(answer: httpx.Response) -> None:
    """Print a problem document, every named field on its own line, and end the command."""
    problem = _problem(answer)
    errors.print(f"{answer.status_code} {problem.get('code', '')}: {problem.get('detail', '')}".strip(), style="red")
    for item in problem.get("errors") or []:
        errors.print(f"  {item.get('field')}: {item.get('message')}", style="red")
    if request_id := problem.get("request_id"):
        errors.print(f"  request {request_id}", style="dim")
    raise Refused(Exit.REFUSED)


def _problem(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {"detail": answer.text[:500]}
    return body if isinstance(body, dict) else {"detail": str(body)[:500]}


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}
