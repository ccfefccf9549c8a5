"""A training's alarms as events of its run: each once, however often the training is interrupted and goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.repositories import events
from app.rlaif.health import Alarm, RaisedAlarm
from app.services.engine import EventType, emit
from workers.stages.contract import ShardWork, StageContext


class Reports(Protocol):
    """Progress without alarms."""

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None: ...

    def should_stop(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class AlarmedProgress:
    """`Progress` whose alarms are in the database before the training's state says that they were raised."""

    reports: Reports
    context: StageContext

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self.reports.report(step, total, metrics)

    def should_stop(self) -> bool:
        return self.reports.should_stop()

    def alarm(self, alarm: Alarm) -> None:
        """Write it down unless that is done. Raises LeaseLost."""
        write(self.context, alarm)


def write(context: StageContext, alarm: Alarm) -> None:
    """Write an alarm down as an event, once; the holder's fence makes it the only writer. Raises LeaseLost."""
    work, found = context.work, _raised(context.work, alarm)
    with context.transaction() as session:
        if not events.exists(session, work.run_id, EventType.HEALTH_ALARM, found.place):
            emit(session, work.run_id, work.project_id, EventType.HEALTH_ALARM, found.model_dump(mode="json"))


def raised(context: StageContext) -> list[dict[str, Any]]:
    """The alarms of this shard's training so far."""
    work = context.work
    with context.read() as session:
        found = events.of_type(session, work.run_id, EventType.HEALTH_ALARM)
    own = {"stage": work.kind.value, "round": work.round, "candidate": work.candidate}
    return [event.data for event in found if own.items() <= event.data.items()]


def _raised(work: ShardWork, alarm: Alarm) -> RaisedAlarm:
    return RaisedAlarm(
        alarm=alarm.kind,
        stage=work.kind.value,
        round=work.round,
        candidate=work.candidate,
        member=alarm.member,
        step=alarm.step,
        limit=alarm.limit,
        figures=alarm.figures,
        remedy=alarm.remedy,
    )
