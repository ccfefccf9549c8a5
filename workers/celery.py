"""Celery as a doorbell: a message is one shard id, and losing, doubling or reordering it is harmless.

Early acknowledgement, no prefetching, JSON only, no results, no retries: the lease in the database does all of that.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from celery import Celery
from celery.bootsteps import StartStopStep
from celery.signals import celeryd_after_setup, worker_shutting_down

from app.config import settings
from app.db.session import make_engine, make_session_factory
from app.rlaif.pipeline import Queue
from workers.supervisor import Worker

TASK = "run_shard"
TICK_S = 0.05


def broker_url(url: str) -> str:
    """`unix:///path` as Celery spells it; everything else as it is."""
    return "redis+socket://" + url.removeprefix("unix://") if url.startswith("unix://") else url


def configuration() -> dict[str, Any]:
    """Read when Celery first looks, not when this module is imported."""
    return {
        "broker_url": broker_url(settings().redis_url),
        "broker_connection_retry": True,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 3,
        "broker_transport_options": {
            "visibility_timeout": 24 * 3600,
            "socket_timeout": 5,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            # What sends gives up at once and is called again: it must not sit on rows while the broker is away.
            "max_retries": 1,
            "interval_start": 0.1,
            "interval_step": 0.1,
            "interval_max": 0.2,
        },
        "imports": ["workers.tasks"],
        "task_queues": {queue.value: {} for queue in Queue},
        "task_default_queue": Queue.IO.value,
        "task_create_missing_queues": False,
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_acks_late": False,
        "task_track_started": False,
        "task_send_sent_event": False,
        "task_publish_retry": False,
        "worker_pool": "threads",
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_send_task_events": False,
        "worker_enable_remote_control": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": True,
    }


class Tick(StartStopStep):  # type: ignore[misc]
    """Lets the consumer look around often. A thread that ends its task does not wake the consumer's event loop, which
    would otherwise take the next message up to a second later."""

    def start(self, parent: Any) -> None:
        self._entry = parent.timer.call_repeatedly(TICK_S, lambda: None)

    def stop(self, parent: Any) -> None:
        self._entry.cancel()


app = Celery("rlaif")
app.add_defaults(configuration)
app.steps["consumer"].add(Tick)


@cache
def this_worker() -> Worker:
    """The state that this process's supervisors share; made by the first one."""
    threads = app.conf.worker_concurrency or 1
    return Worker(settings(), make_session_factory(make_engine(settings(), pool_size=2 * threads + 2)))


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def _warm_up(instance: Any, **_: object) -> None:
    from workers.forkserver import warm

    instance.app.conf.worker_concurrency = instance.concurrency
    warm([Queue(name) for name in instance.app.amqp.queues.consume_from])
    this_worker()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _begin_stopping(**_: object) -> None:
    this_worker().stopping = True
