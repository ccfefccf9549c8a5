"""Clients of the live API, and runs that the engine drives without doing their work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import httpx
from sqlalchemy import Engine, Select, select, update
from sqlalchemy.orm import Session

from app.db.models import Scope, Shard, ShardStatus, Stage
from app.db.session import SessionFactory
from app.services import engine, keys
from app.services.engine import Cause, Claim, Report
from app.storage import ArtifactStore
from tests.live_api import LiveApi

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


@dataclass(frozen=True)
class Service:
    """A running API. Each client is a project of its own."""

    api: LiveApi

    @property
    def url(self) -> str:
        return self.api.url

    @property
    def sessions(self) -> SessionFactory:
        return cast(SessionFactory, self.api.app.state.sessions)

    @property
    def database(self) -> Engine:
        return cast(Engine, self.api.app.state.engine)

    @property
    def store(self) -> ArtifactStore:
        return cast(ArtifactStore, self.api.app.state.store)

    def client(self, *scopes: Scope) -> Client:
        """A new project and a key for it, an admin's unless scopes are named."""
        key = self.api.project()
        with self.sessions() as session:
            project_id = keys.authenticate(session, f"Bearer {key}").project_id
        if scopes:
            key = self.api.key(key, scopes)
        return Client(self, project_id, key, self.api.client(key))


@dataclass
class Client:
    """One project's view of the service."""

    service: Service
    project_id: str
    key: str
    http: httpx.Client

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
        while (kind := self._next_stage(run_id)) is not None and kind != stop_before:
            self.work(run_id, units=1, metrics=metrics.get(kind, {}))

    def work(self, run_id: str, *, units: int, metrics: Mapping[str, Any] = {}) -> None:
        """Claim the next shard and say that it has succeeded."""
        with self.service.sessions.begin() as session:
            claim = self._claim(session, run_id)
            assert engine.complete(session, claim.shard_id, claim.token, units=units, metrics=metrics)

    def fail_next(self, run_id: str) -> None:
        """The next shard's holder says that trying again cannot help."""
        with self.service.sessions.begin() as session:
            claim = self._claim(session, run_id)
            cause = Cause("broken", "It broke.")
            assert engine.fail_attempt(session, claim.shard_id, claim.token, cause, retryable=False)

    def give_back_next(self, run_id: str) -> None:
        """The next shard's holder says that its judge is down."""
        with self.service.sessions.begin() as session:
            claim = self._claim(session, run_id)
            cause = Cause("judge_unavailable", "It is down.")
            assert engine.release(session, claim.shard_id, claim.token, cause=cause)

    def train(self, run_id: str, *, steps: int) -> None:
        """The next shard, which trains, reports so many steps and succeeds."""
        with self.service.sessions.begin() as session:
            claim = self._claim(session, run_id)
            reports = [Report(step, steps, {"loss": 1.0 / step}) for step in range(1, steps + 1)]
            assert engine.record(session, claim.shard_id, claim.token, reports=reports, seconds=1.5)
            assert engine.complete(session, claim.shard_id, claim.token, units=steps, metrics={})

    def spend(self, run_id: str, *, judge_usd: float) -> None:
        """As if the run's first stage had paid its judge that much."""
        with self.service.sessions.begin() as session:
            first = select(Stage.id).where(Stage.run_id == run_id, Stage.position == 0).scalar_subquery()
            session.execute(update(Stage).where(Stage.id == first).values(judge_usd=judge_usd))

    def _claim(self, session: Session, run_id: str) -> Claim:
        shard = session.scalars(_queued(run_id)).first()
        assert shard is not None
        claim = engine.claim(session, shard.id, worker="test", lease_s=60)
        assert claim is not None
        return claim

    def _next_stage(self, run_id: str) -> str | None:
        with self.service.sessions() as session:
            shard = session.scalars(_queued(run_id)).first()
            return None if shard is None else session.get_one(Stage, shard.stage_id).kind


def _queued(run_id: str) -> Select[Shard]:
    query = select(Shard).where(Shard.run_id == run_id, Shard.status == ShardStatus.QUEUED)
    return query.order_by(Shard.stage_id, Shard.phase, Shard.position).limit(1)
