"""The API as a real server on a real database, its clients, and runs that the engine drives without doing the work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from sqlalchemy import Engine, select, update

from app.config import Settings
from app.db.ids import Kind, new_id
from app.db.models import Project, Scope, Shard, ShardStatus, Stage
from app.db.session import SessionFactory, WriteSession, make_engine, make_session_factory
from app.main import create_app
from app.services import engine, keys
from app.services.engine import Cause, Report
from app.storage import ArtifactStore

EXAMPLES = Path(__file__).parents[4] / "examples"

RUBRIC = {
    "name": "brief",
    "criteria": [
        {
            "name": "short",
            "description": "Few words.",
            "check": {"kind": "length", "unit": "words", "minimum": 1, "maximum": 20},
        }
    ],
}
PROMPTS = {
    "name": "questions",
    "prompts": [
        *({"messages": [{"role": "user", "content": f"What is {i}?"}], "split": "train"} for i in range(4)),
        *({"messages": [{"role": "user", "content": f"Why is {i}?"}], "split": "held_out"} for i in range(2)),
    ],
}
JUDGE = {"name": "trainer", "spec": {"kind": "checks"}}
EVALUATION_JUDGE = {
    "name": "measurer",
    "spec": {
        "kind": "checks",
        "family": "other",
        "criteria": [
            {"name": "clean", "description": "No insult.", "check": {"kind": "words", "none_of": ["duh"]}},
        ],
    },
}


@dataclass
class Service:
    """A running API. Each client is a project of its own."""

    url: str
    settings: Settings
    database: Engine
    clients: list[Client] = field(default_factory=list)

    @property
    def sessions(self) -> SessionFactory:
        return make_session_factory(self.database)

    @property
    def store(self) -> ArtifactStore:
        return ArtifactStore(self.settings.artifacts_dir)

    def client(self, *scopes: Scope) -> Client:
        """A new project and a key for it, an admin's unless scopes are named."""
        with self.sessions.begin() as session:
            project = Project(id=new_id(Kind.PROJECT), name=new_id(Kind.PROJECT))
            session.add(project)
            session.flush()
            key = keys.create(WriteSession(session), project.id, name="test", scopes=scopes or [Scope.ADMIN])
        self.clients.append(Client(self, project.id, key.plaintext))
        return self.clients[-1]

    def close(self) -> None:
        for client in self.clients:
            client.http.close()
        self.database.dispose()


@dataclass
class Client:
    """One project's view of the service."""

    service: Service
    project_id: str
    key: str
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}"}
        self.http = httpx.Client(base_url=self.service.url, headers=headers, timeout=30)

    def get(self, path: str, *, expect: int = 200, headers: Mapping[str, str] | None = None, **params: Any) -> Any:
        """The JSON answer; any other status fails the test with the problem's text."""
        answer = self.http.get(path, params=params, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, *, expect: int = 201, headers: Mapping[str, str] | None = None) -> Any:
        answer = self.http.post(path, json=body, headers=headers)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def request(self, **changes: Any) -> dict[str, Any]:
        """The body of a run with everything inline; a change to None leaves the field out."""
        body: dict[str, Any] = {
            "name": "run",
            "rubric": RUBRIC,
            "prompt_set": PROMPTS,
            "base_model": {"name": "base", "source": "local:base_model"},
            "judge": JUDGE,
            "evaluation_judge": EVALUATION_JUDGE,
            "recipe": {"sample": {"prompts_per_shard": 2}},
            **changes,
        }
        return {name: value for name, value in body.items() if value is not None}

    def run(self, **changes: Any) -> dict[str, Any]:
        created: dict[str, Any] = self.post("/v1/runs", self.request(**changes))
        return created

    def rows(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """Every row of a listing, by pages."""
        rows, after = list[dict[str, Any]](), None
        while True:
            page = self.get(path, **params, **({"after": after} if after else {}))
            rows += page["data"]
            if not page["has_more"]:
                assert page["after"] is None
                return rows
            after = page["after"]

    def drive(
        self, run_id: str, *, stop_before: str | None = None, metrics: Mapping[str, Mapping[str, Any]] = {}
    ) -> None:
        """Let the engine believe that every shard succeeds, until the run ends or a stage is next."""
        while (shard := self._next(run_id)) is not None:
            with self.service.sessions.begin() as session:
                claim = engine.claim(session, shard, worker="test", lease_s=60)
                assert claim is not None
                if claim.kind == stop_before:
                    session.rollback()
                    return
                reported = dict(metrics.get(claim.kind, {}))
                assert engine.complete(session, shard, claim.token, units=1, metrics=reported)

    def fail_next(self, run_id: str) -> None:
        """The next shard's holder says that trying again cannot help."""
        with self.service.sessions.begin() as session:
            shard = self._next(run_id)
            assert shard is not None
            claim = engine.claim(session, shard, worker="test", lease_s=60)
            assert claim is not None
            assert engine.fail_attempt(session, shard, claim.token, Cause("broken", "It broke."), retryable=False)

    def train(self, run_id: str, *, steps: int) -> None:
        """The next shard, which trains, reports so many steps and succeeds."""
        with self.service.sessions.begin() as session:
            shard = self._next(run_id)
            assert shard is not None
            claim = engine.claim(session, shard, worker="test", lease_s=60)
            assert claim is not None
            reports = [Report(step, steps, {"loss": 1.0 / step}) for step in range(1, steps + 1)]
            assert engine.record(session, shard, claim.token, reports=reports, seconds=1.5)
            assert engine.complete(session, shard, claim.token, units=steps, metrics={})

    def spend(self, run_id: str, *, judge_usd: float) -> None:
        """As if the run's first stage had paid its judge that much."""
        with self.service.sessions.begin() as session:
            first = select(Stage.id).where(Stage.run_id == run_id, Stage.position == 0).scalar_subquery()
            session.execute(update(Stage).where(Stage.id == first).values(judge_usd=judge_usd))

    def _next(self, run_id: str) -> str | None:
        with self.service.sessions() as session:
            query = select(Shard.id).where(Shard.run_id == run_id, Shard.status == ShardStatus.QUEUED)
            return session.scalars(query.order_by(Shard.id).limit(1)).first()


@contextmanager
def serving(settings: Settings) -> Iterator[Service]:
    """The API on a free port of the loopback, in a thread of this process."""
    server = uvicorn.Server(
        uvicorn.Config(create_app(settings), port=0, log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, name="api", daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert thread.is_alive(), "the API did not start"
        assert time.monotonic() < deadline, "the API did not start within 30 s"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    service = Service(f"http://127.0.0.1:{port}", settings, make_engine(settings, pool_size=5))
    try:
        yield service
    finally:
        service.close()
        server.should_exit = True
        thread.join(30)
