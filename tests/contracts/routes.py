"""Every operation of the app, read from its routes: a route that someone adds is tested without being listed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import iter_route_contexts

from app.api.dependencies import admin, reader, writer
from app.config import Settings
from app.db.models import Scope
from app.main import create_app

GUARDS: dict[object, Scope] = {reader: Scope.READ, writer: Scope.WRITE, admin: Scope.ADMIN}
PUBLIC = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"}


@dataclass(frozen=True)
class Operation:
    """One method of one path. `scope` is None where no guard is in the handler's signature."""

    method: str
    path: str
    scope: Scope | None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operations(app: FastAPI) -> Iterator[Operation]:
    for route in iter_route_contexts(app.routes):
        scope = _scope(route.dependant) if hasattr(route.original_route, "dependant") else None
        for method in sorted(route.methods or {"GET"}):
            yield Operation(method, route.path or "", scope)


def all_operations() -> list[Operation]:
    """Of an app that is never started."""
    return list(operations(create_app(Settings(database_url="postgresql+psycopg://nobody@/nothing"))))


def _scope(dependant: Dependant) -> Scope | None:
    """The widest scope that any dependency of the handler asks for."""
    found = [scope for call in _calls(dependant) if (scope := GUARDS.get(call)) is not None]
    return max(found, key=list(Scope).index, default=None)


def _calls(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for dependency in dependant.dependencies:
        yield from _calls(dependency)
