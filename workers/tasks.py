"""The one task. It takes an id; everything else is in the database."""

from celery import shared_task

from workers.celery import TASK, this_worker
from workers.supervisor import supervise


@shared_task(name=TASK, ignore_result=True)  # type: ignore[untyped-decorator]
def run_shard(shard_id: str) -> None:
    """Claim, supervise, complete."""
    supervise(this_worker(), shard_id)
