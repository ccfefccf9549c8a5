"""What a stage function is given and what it answers. It runs in a child process and may be killed at any moment.

A stage function writes its rows in `context.transaction()`, which holds the fence: a stale token writes nothing.
Rows go in with ON CONFLICT DO NOTHING on their unit's unique key, so that doing a shard again repeats no work. The
supervisor, not the stage function, marks the shard done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol, Self

from sqlalchemy.orm import Session

from app.config import Settings
from app.rlaif.health import Alarm
from app.rlaif.pipeline import CANDIDATE
from app.services.engine import Claim


@dataclass(frozen=True, slots=True)
class ShardWork(Claim):
    """The shard that was claimed, as plain data that crosses to the child."""

    @classmethod
    def of(cls, claim: Claim) -> Self:
        return cls(**{each.name: getattr(claim, each.name) for each in fields(claim)})

    @property
    def candidate(self) -> int:
        """Which candidate of a sweep this is; 0 where nothing is swept."""
        return int(self.payload.get(CANDIDATE, 0))


@dataclass(frozen=True, slots=True)
class StageOutcome:
    """What the supervisor commits: units done and the numbers worth showing."""

    units: int
    metrics: Mapping[str, Any] = field(default_factory=dict)


class Progress(Protocol):
    """How a long piece of work is watched and stopped. An alarm is written down at once; the rest is cheap."""

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None: ...

    def should_stop(self) -> bool: ...

    def alarm(self, alarm: Alarm) -> None: ...


class StageContext(Protocol):
    """Everything a stage function may touch."""

    work: ShardWork
    settings: Settings
    progress: Progress

    def read(self) -> AbstractContextManager[Session]:
        """A session for reading; rolled back at its end."""

    def transaction(self) -> AbstractContextManager[Session]:
        """A fenced transaction, committed at its end. Raises LeaseLost when the token is stale."""

    def unfenced(self) -> AbstractContextManager[Session]:
        """A transaction about what is not the shard's own, such as limits that all workers share."""

    def scratch(self) -> Path:
        """A directory that outlives this attempt: the next holder of the shard finds what was saved in it."""


StageFunction = Callable[[StageContext], StageOutcome]


JUDGE_UNAVAILABLE = "judge_unavailable"
"""The code of a `GiveBack` because the judge is down: the time spent waiting for it is no compute."""


class StageError(Exception):
    """Base of the ends that a stage function chooses. `code` is stable; the message says what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class StageRefused(StageError):
    """Raised when trying again cannot help: the run fails with this reason."""


class GiveBack(StageError):
    """Raised when the work cannot go on now (a judge is down, a stop was asked for): the attempt is not counted.

    `retry_after_s` is when it may be taken up again, where whoever stands in the way has said so.
    """

    def __init__(self, code: str, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(code, detail)
        self.retry_after_s = retry_after_s


class BudgetReached(StageError):
    """Raised when the next call would exceed the run's budget: the run is paused with this reason."""


class LeaseLost(Exception):
    """Raised when another holder has the shard: this process must write nothing more and exit."""
