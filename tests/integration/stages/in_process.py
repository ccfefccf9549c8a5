"""A stage's context without a child process, and what stands for its being stopped or killed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session

from app.config import Settings
from app.db.session import SessionFactory
from workers.lease import fenced
from workers.scratch import scratch_directory
from workers.stages.alarms import AlarmedProgress, Reports
from workers.stages.contract import Progress, ShardWork

LEASE_S = 600.0


class Killed(BaseException):
    """What stands for `kill -9` in this process: nothing catches it."""


@dataclass
class Watch:
    """`Progress` that remembers reports, and asks to stop after so many looks or so many reports."""

    stop_after: int | None = None
    stop_after_reports: int | None = None
    looks: int = 0
    reports: list[tuple[int, int, Mapping[str, float]]] = field(default_factory=list)

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self.reports.append((step, total, metrics))

    def should_stop(self) -> bool:
        self.looks += 1
        looked_enough = self.stop_after is not None and self.looks > self.stop_after
        return looked_enough or (self.stop_after_reports is not None and len(self.reports) >= self.stop_after_reports)


class InProcess:
    """`StageContext` without a child process. `kill_at` kills it around the end of that many transactions."""

    def __init__(
        self,
        work: ShardWork,
        settings: Settings,
        sessions: SessionFactory,
        *,
        progress: Reports,
        kill_at: int | None = None,
    ) -> None:
        self.work = work
        self.settings = settings
        self.progress: Progress = AlarmedProgress(progress, self)
        self._sessions = sessions
        self._kill_at = kill_at
        self.transactions = 0

    @contextmanager
    def read(self) -> Iterator[Session]:
        with self._sessions() as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Killed before the commit at odd counts, after it at even ones; the dead write nothing more."""
        if self._kill_at is not None and self.transactions >= self._kill_at:
            raise Killed
        with self._sessions.begin() as session:
            fenced(session, self.work.shard_id, self.work.token, lease_s=LEASE_S)
            yield session
            self.transactions += 1
            if self.transactions == self._kill_at and self.transactions % 2:
                raise Killed
        if self.transactions == self._kill_at:
            raise Killed

    @contextmanager
    def unfenced(self) -> Iterator[Session]:
        with self._sessions.begin() as session:
            yield session

    def scratch(self) -> Path:
        return scratch_directory(self.settings.artifacts_dir, self.work.shard_id, self.work.token)
