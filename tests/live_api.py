"""The API on a real socket: uvicorn in a thread of the test process, one database, clients with keys of any project."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import uvicorn
from fastapi import FastAPI

from app.config import Settings
from app.db.models import Scope
from app.db.session import WriteSession
from app.main import create_app
from app.services import keys

START_TIMEOUT_S = 30
_projects = itertools.count(1)


@dataclass(frozen=True)
class LiveApi:
    """A running API. Each `client` is an open connection pool that `close` closes."""

    app: FastAPI
    settings: Settings
    url: str
    _clients: list[httpx.Client] = field(default_factory=list)

    def project(self) -> str:
        """The admin key of a project of its own."""
        with self.app.state.sessions.begin() as session:
            return keys.bootstrap(WriteSession(session), f"project {next(_projects)}")

    def key(self, admin_key: str, scopes: Collection[Scope]) -> str:
        """A key with these scopes in the admin key's project."""
        with self.app.state.sessions.begin() as session:
            caller = keys.authenticate(session, f"Bearer {admin_key}")
            return keys.create(WriteSession(session), caller.project_id, name="test", scopes=scopes).plaintext

    def client(self, key: str | None) -> httpx.Client:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()


@contextmanager
def serve(settings: Settings) -> Iterator[LiveApi]:
    """Start the API as production does, on a free port; stop it cleanly."""
    app = create_app(settings)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", ws="none", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="live api")
    thread.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the API did not start; its log says why")
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        api = LiveApi(app, settings, f"http://127.0.0.1:{port}")
        yield api
        api.close()
    finally:
        server.should_exit = True
        thread.join()
