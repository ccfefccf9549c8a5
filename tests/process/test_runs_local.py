"""A registered model as the judge: asked on the gpu queue, answering with probabilities in both orders."""

from __future__ import annotations

from tests.process.service import Service


def test_local_model_judges_in_the_gpu_worker(service: Service, checked_run: str) -> None:
    spec = {"kind": "local", "family": "tiny", "model": service.parts_of_runs.base_model, "max_length": 1024}
    judge = service.post("/v1/judges", {"name": service.name("local"), "spec": spec})["id"]
    recipe = {"stop_after": "judge", "judge": {"minimum_coverage": 0.0}}
    run_id = service.fork(checked_run, "judge", judge=judge, recipe=recipe)
    service.finished(run_id)

    queues = service.rows("SELECT DISTINCT queue FROM shards WHERE run_id = :run AND phase = 0", run=run_id)
    assert [row.queue for row in queues] == ["gpu"]
    verdicts = service.pages(f"/v1/runs/{run_id}/verdicts")
    orders = {order: [row for row in verdicts if row["order"] == order] for order in ("AB", "BA")}
    assert len(orders["AB"]) == len(orders["BA"]) > 0
    answered = [row for row in verdicts if row["answer"] != "INVALID"]
    assert any(row["probability"] not in (0.0, 0.5, 1.0) for row in answered), "log-probabilities, not votes"
    assert {row["invalid_reason"] for row in verdicts if row["answer"] == "INVALID"} <= {"truncated"}
