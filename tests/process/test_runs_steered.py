"""Cancel, pause and resume in the middle of training, as a client does it."""

from __future__ import annotations

import time
from typing import Any

from cli.stack.sweep import marked
from tests.process.service import Service
from tests.stack import wait_for

HEARTBEATS_S = 2.0  # several of them: a holder that still lived would have written by then
LONG = {"stop_after": "policy", "policy": {"epochs": 100}}


class TestCancel:
    def test_ends_within_seconds_and_nothing_is_written_afterwards(self, service: Service, checked_run: str) -> None:
        idle = set(service.children("worker-gpu"))
        run_id = service.fork(checked_run, "policy", recipe=LONG)
        service.trains(run_id)
        training = set(service.children("worker-gpu")) - idle
        assert training, "a child process trains"
        service.post(f"/v1/runs/{run_id}:cancel")
        run = service.reaches(run_id, "cancelled", timeout_s=10)
        assert [stage["status"] for stage in run["stages"]][-1] == "cancelled"
        wait_for(lambda: not any(child.is_running() for child in training), what="the child's end", timeout_s=5)

        left = _everything(service, run_id)
        time.sleep(HEARTBEATS_S)
        assert _everything(service, run_id) == left
        assert service.count("checkpoints", run_id) == 0
        assert service.client.post(f"/v1/runs/{run_id}:resume").status_code == 409


class TestPause:
    def test_resumed_training_goes_on_where_it_stood_and_ends_the_same(
        self, service: Service, checked_run: str
    ) -> None:
        run_id = service.fork(checked_run, "policy", recipe={"stop_after": "policy", "policy": {"save_steps": 1000}})
        service.trains(run_id)
        service.post(f"/v1/runs/{run_id}:pause")
        paused = service.reaches(run_id, "paused", timeout_s=10)
        before = _steps(service, run_id)
        stage = paused["stages"][-1]
        assert 0 < len(before) == stage["done_units"] < stage["total_units"]

        service.post(f"/v1/runs/{run_id}:resume")
        service.finished(run_id)
        after = _steps(service, run_id)
        assert after[: len(before)] == before, "no step that was done is done again"
        assert len(after) == stage["total_units"]
        assert service.events(run_id, "shard.attempt_failed") == []
        told = [row["type"] for row in service.events(run_id) if row["type"].startswith("run.")]
        assert told[2:] == ["run.pause_requested", "run.paused", "run.resumed", "run.succeeded"]
        assert service.policy(run_id)["digest"] == service.policy(checked_run)["digest"]


class TestStop:
    def test_worker_asked_to_stop_gives_its_shard_back_uncounted(self, service: Service, checked_run: str) -> None:
        run_id = service.fork(checked_run, "policy", recipe={"stop_after": "policy"})
        service.trains(run_id)
        service.stop("worker-gpu")
        assert not marked(service.home, "worker-gpu")
        shards = service.rows("SELECT status, attempt FROM shards WHERE run_id = :run", run=run_id)
        assert [tuple(shard) for shard in shards] == [("queued", 0)]
        service.start("worker-gpu")
        service.finished(run_id)
        assert service.events(run_id, "shard.attempt_failed") == []
        assert service.policy(run_id)["digest"] == service.policy(checked_run)["digest"]


def _steps(service: Service, run_id: str) -> list[Any]:
    """The metrics of the policy's steps; the pace among them tells one execution of a step from another."""
    return [point for point in service.pages(f"/v1/runs/{run_id}/metrics") if point["stage"] == "policy"]


def _everything(service: Service, run_id: str) -> list[Any]:
    """All rows that a holder of one of the run's shards writes."""
    names = ("runs", "stages", "shards", "events", "metric_points", "checkpoints")
    of_run = [f"SELECT t::text FROM {name} t WHERE {'id' if name == 'runs' else 'run_id'} = :run" for name in names]  # noqa: S608  a table of ours
    return service.rows(f"{' UNION ALL '.join(of_run)} ORDER BY 1", run=run_id)
