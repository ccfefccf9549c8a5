"""The run engine: runs, stages and shards from start to end. Postgres is the truth; every function runs in the
caller's transaction, flushes, and never commits."""

from app.services.engine.control import request_cancel, request_pause, resume, retry, start_run
from app.services.engine.lease import Claim, Report, Wish, claim, holds, record, renew, wish
from app.services.engine.notices import EventType, emit, touch
from app.services.engine.outcome import Cause, complete, fail_attempt, pause_for, release
from app.services.engine.rescue import expired, is_open, not_stopping, recover, ring_silent, stop

__all__ = [
    "Cause",
    "Claim",
    "EventType",
    "Report",
    "Wish",
    "claim",
    "complete",
    "emit",
    "expired",
    "fail_attempt",
    "holds",
    "is_open",
    "not_stopping",
    "pause_for",
    "record",
    "recover",
    "release",
    "renew",
    "request_cancel",
    "request_pause",
    "resume",
    "retry",
    "ring_silent",
    "start_run",
    "stop",
    "touch",
    "wish",
]
