"""Runs that train in two processes end like those that train in one, and no process outlives its worker."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from cli.stack.sweep import marked
from tests.process.service import Service
from tests.stack import wait_for

LONG = {"stop_after": "policy", "policy": {"epochs": 40, "save_steps": 20}}


@pytest.fixture
def spread_service(service: Service) -> Iterator[Service]:
    """The service, whose gpu worker trains in two processes."""
    env = service.env["worker-gpu"]
    env["RLAIF_TRAINING_PROCESSES"] = "2"
    service.restart("worker-gpu")
    yield service
    del env["RLAIF_TRAINING_PROCESSES"]
    service.restart("worker-gpu")


def ranks(service: Service) -> list[psutil.Process]:
    return [each for each in marked(service.home) if "workers.training.rank" in each.cmdline()]


def losses(service: Service, run_id: str, kind: str) -> list[float]:
    points = service.pages(f"/v1/runs/{run_id}/metrics")
    return [point["data"]["loss"] for point in points if point["stage"] == kind]


class TestSpread:
    def test_trains_as_one_process_does(self, spread_service: Service, checked_run: str) -> None:
        run_id = spread_service.fork(checked_run, "reward_model")
        spread_service.opens(run_id, "reward_model")
        wait_for(lambda: len(ranks(spread_service)) == 2, what="two ranks", timeout_s=60)
        spread_service.finished(run_id)
        for kind in ("reward_model", "policy"):
            expected = losses(spread_service, checked_run, kind)
            assert losses(spread_service, run_id, kind) == pytest.approx(expected, abs=1e-4)
        assert spread_service.events(run_id, "shard.attempt_failed") == []

    def test_a_killed_rank_costs_an_attempt_and_no_saved_step(self, spread_service: Service, checked_run: str) -> None:
        run_id = spread_service.fork(checked_run, "policy", recipe=LONG)
        spread_service.trains(run_id, "policy", steps=25)
        ranks(spread_service)[0].kill()
        spread_service.finished(run_id)
        (failure,) = spread_service.events(run_id, "shard.attempt_failed")
        assert failure["data"]["code"] == "RanksFailed"
        assert spread_service.policy(run_id)["metrics"]["resumed_from"] >= 20

    def test_a_killed_worker_leaves_no_rank_behind(self, spread_service: Service, checked_run: str) -> None:
        """Its own group is killed, as by the kernel; the ranks live in sessions of their own."""
        run_id = spread_service.fork(checked_run, "policy", recipe=LONG)
        spread_service.trains(run_id, "policy", steps=25)
        before = ranks(spread_service)
        assert len(before) == 2
        spread_service.processes["worker-gpu"].kill()
        wait_for(lambda: not any(each.is_running() for each in before), what="the end of the ranks", timeout_s=10)
        spread_service.start("worker-gpu")
        spread_service.finished(run_id)
        assert spread_service.policy(run_id)["metrics"]["resumed_from"] >= 20
