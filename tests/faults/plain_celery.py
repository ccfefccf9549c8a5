"""The control: the same work as plain Celery does it, with its safest settings. A worker loads this as its app."""

from __future__ import annotations

import os
import time

import psycopg
from celery import Celery

app = Celery("plain", broker=os.environ["PLAIN_BROKER"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_pool="threads",
    worker_concurrency=4,
    worker_enable_remote_control=False,
    task_default_queue="plain",
    broker_transport_options={"visibility_timeout": 2, "unacked_mail_interval": 1},
)


@app.task(name="plain.work")  # type: ignore[untyped-decorator]
def work(number: int) -> None:
    """Half a second, its effect, and a little more that could be cut."""
    time.sleep(0.25)
    with psycopg.connect(os.environ["PLAIN_DATABASE"]) as connection:
        connection.execute("INSERT INTO effects (shard_id, token) VALUES (%s, 1)", [f"plain_{number}"])
    time.sleep(0.25)
