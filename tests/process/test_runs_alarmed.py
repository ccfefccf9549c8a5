"""A training's alarms as a client hears of them: while it trains, once though its worker is killed, and as its end."""

from __future__ import annotations

from typing import Any

from tests.process.service import RECIPE, Service
from tests.stack import wait_for

ALARMED = {"window": 2, "kl_per_token": 1e-9, "length_ratio": None, "shared_ngrams": None}
STEPS = 12


def begin(service: Service, source: str, **health: Any) -> str:
    """A policy that wanders off, of a reward model that is there already."""
    policy = {
        "method": "grpo",
        "learning_rate": 1e-3,
        "beta": 0.0,
        "steps": STEPS,
        "prompts_per_step": 4,
        "completions": 4,
        "max_new_tokens": 24,
        "max_length": 128,
        "save_steps": 3,
        "health": ALARMED | health,
    }
    return service.fork(source, "policy", recipe={"sample": RECIPE["sample"], "policy": policy})


class TestAlarms:
    def test_are_heard_while_it_trains_and_once_though_the_worker_is_killed(
        self, service: Service, checked_run: str
    ) -> None:
        run_id = begin(service, checked_run)
        with service.held_up("checkpoints"):
            wait_for(lambda: service.events(run_id, "health.alarm"), what="the alarm", timeout_s=90)
            assert service.run(run_id)["finished_at"] is None
            service.kill("worker-gpu")
        service.start("worker-gpu")
        service.finished(run_id)
        (event,) = service.events(run_id, "health.alarm")
        assert event["data"]["alarm"] == "kl_exploding"
        assert service.stage(run_id, "policy")["metrics"]["alarms"] == [event["data"]]
        report = service.get(f"/v1/runs/{run_id}/report")
        assert "kl_exploding" in {caveat["code"] for caveat in report["caveats"]}
        points = [row["data"] for row in service.pages(f"/v1/runs/{run_id}/metrics") if row["stage"] == "policy"]
        assert len(points) == STEPS
        assert all({"reward", "kl", "loss", "memory_bytes"} <= point.keys() for point in points)
        assert [step for step, point in enumerate(points, start=1) if "held_out_judge" in point] == [10, STEPS]

    def test_may_end_the_run(self, service: Service, checked_run: str) -> None:
        run_id = begin(service, checked_run, on_alarm="stop")
        run = service.reaches(run_id, "failed")
        assert run["error"]["code"] == "health_alarm"
        alarm, end = service.events(run_id, "health.alarm", "run.failed")
        assert (alarm["type"], end["type"]) == ("health.alarm", "run.failed")
        assert f"kl_exploding at step {alarm['data']['step']}: " in run["error"]["detail"]
        assert alarm["data"]["remedy"] in run["error"]["detail"]
        assert [row for row in service.pages("/v1/checkpoints", run=run_id) if row["run_id"] == run_id] == []
