"""One shard exactly as a worker does it, in a process tree of its own whose CPU is counted: claim, child, commit.

Only Celery is left out, which would bring the shard's id. Prints `ready`, waits for a line with a shard's id, works it
off, prints what it took as JSON; ends at the end of its input.

    RLAIF_DATABASE_URL=... python -m benchmarks.judge_worker
"""

from __future__ import annotations

import json
import sys
import time

import psutil

from app.config import Settings
from app.db.session import make_engine, make_session_factory
from app.rlaif.pipeline import Queue
from workers import forkserver
from workers.supervisor import Worker, supervise


def main() -> None:
    settings = Settings()
    forkserver.warm([Queue.IO])
    worker = Worker(settings, make_session_factory(make_engine(settings, pool_size=4)))
    print("ready", flush=True)
    for line in sys.stdin:
        before, started = _cpu_s(), time.monotonic()
        supervise(worker, line.strip())
        wall_s = time.monotonic() - started
        print(json.dumps({"wall_s": wall_s, "cpu_s": _cpu_s() - before}), flush=True)


def _cpu_s() -> float:
    """User and system seconds of this process, of the fork server, and of every child that either has reaped."""
    own = psutil.Process()
    times = [own.cpu_times(), *(child.cpu_times() for child in own.children())]
    return float(sum(each.user + each.system + each.children_user + each.children_system for each in times))


if __name__ == "__main__":
    main()
