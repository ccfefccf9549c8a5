"""Two rounds by the real processes, killed within and between them; and an end before the last."""

from __future__ import annotations

from typing import Any

import pytest

from tests.process.service import HELD_OUT, Service
from tests.stack import wait_for

SHORT: dict[str, Any] = {
    "reward_model": {"epochs": 1},
    "policy": {"learning_rate": 3e-4, "epochs": 3, "save_steps": 100},
}
KINDS = ["sample", "judge", "prefer", "reward_model", "policy", "evaluate"]


def rounds(**settings: Any) -> dict[str, Any]:
    return {**SHORT, "rounds": {"count": 2, **settings}}


@pytest.fixture(scope="module")
def undisturbed(running_service: Service) -> str:
    """The id of a run of two rounds."""
    running_service.mend()
    return str(running_service.finished(running_service.submit(recipe=rounds()))["id"])


class TestKills:
    def test_killed_within_and_between_rounds_it_ends_like_an_undisturbed_run(
        self, service: Service, undisturbed: str
    ) -> None:
        run_id = service.submit(recipe=rounds())
        _kill_before_writing(service, "evaluations", "worker-io")
        _kill_as_the_round_ends(service, run_id, 0)
        _begins(service, run_id, 1, "sample")
        _kill_before_writing(service, "completions", "worker-gpu")
        _begins(service, run_id, 1, "policy")
        _kill_before_writing(service, "checkpoints", "worker-gpu")
        _kill_as_the_round_ends(service, run_id, 1)
        run = service.finished(run_id)

        assert [(stage["round"], stage["kind"]) for stage in run["stages"]] == [(r, k) for r in (0, 1) for k in KINDS]
        assert {stage["status"] for stage in run["stages"]} == {"succeeded"}
        failures = service.events(run_id, "shard.attempt_failed")
        assert {event["data"]["code"] for event in failures} == {"lease_expired"}
        assert len(service.events(run_id, "rounds.stopped")) == 1
        for of_run in (_policies, _texts, _frontier):
            assert of_run(service, run_id) == of_run(service, undisturbed)

    def test_each_round_goes_on_from_the_last_policy(self, service: Service, undisturbed: str) -> None:
        (first, base), (second, start) = _policies(service, undisturbed)
        models = {row["digest"]: row["name"] for row in service.pages("/v1/models")}
        assert first != second
        assert start == first
        assert base != start
        assert models[start] == f"{undisturbed}-round-0"

    def test_the_report_shows_both(self, service: Service, undisturbed: str) -> None:
        report = service.get(f"/v1/runs/{undisturbed}/report")
        assert report["rounds"]["measured"] == 2
        assert [point["round"] for point in report["frontier"]] == [0, 1]
        assert all(point["kl"]["n"] == HELD_OUT for point in report["frontier"])
        best = max(report["frontier"], key=lambda point: (point["win_rate"]["value"], -point["round"]))
        assert report["rounds"]["best_round"] == best["round"]
        assert report["headline"]["win_rate"] == best["win_rate"]
        checkpoints = {row["id"]: row for row in service.pages("/v1/checkpoints", run=undisturbed)}
        promoted = [id_ for id_, row in checkpoints.items() if row["promoted"]]
        assert promoted == [best["checkpoint_id"]]
        page = service.client.get(f"/v1/runs/{undisturbed}/report", params={"format": "html"})
        assert "Reward and win rate against KL" in page.text


def test_an_early_end_is_a_success(service: Service, undisturbed: str) -> None:
    """Of a fork that measures the same first round again, and asks for more than any round can give."""
    recipe = {"rounds": {"count": 2, "minimum_improvement": 0.9}}
    run_id = service.fork(undisturbed, "evaluate", recipe=recipe)
    run = service.finished(run_id)

    statuses = [(stage["round"], stage["status"]) for stage in run["stages"]]
    assert statuses == [*([(0, "reused")] * 5), (0, "succeeded"), *([(1, "skipped")] * 6)]
    (event,) = service.events(run_id, "rounds.stopped")
    assert (event["data"]["round"], event["data"]["reason"]) == (0, "no_improvement")


def _begins(service: Service, run_id: str, round_: int, kind: str) -> None:
    def probe() -> bool:
        run = service.run(run_id)
        assert run["finished_at"] is None, run
        stage = next(each for each in run["stages"] if (each["round"], each["kind"]) == (round_, kind))
        return stage["started_at"] is not None

    wait_for(probe, what=f"{kind} of round {round_}", timeout_s=180)


def _kill_before_writing(service: Service, table: str, worker: str) -> None:
    with service.held_up(table) as somebody_waits:
        wait_for(somebody_waits, what=f"somebody about to write {table}", timeout_s=180)
        service.kill(worker)
    service.start(worker)


def _kill_as_the_round_ends(service: Service, run_id: str, round_: int) -> None:
    """When the next event of the run, the end of its evaluation, is about to be written, and with it what follows."""
    _begins(service, run_id, round_, "evaluate")
    _kill_before_writing(service, "events", "worker-io")


def _policies(service: Service, run_id: str) -> list[tuple[str, str]]:
    """By round: the policy's digest, and that of the model which it started from."""
    rows = [row for row in service.pages("/v1/checkpoints", run=run_id) if row["kind"] == "policy"]
    rows.sort(key=lambda row: int(row["round"]))
    return [(row["digest"], row["lineage"]["start_model_digest"]) for row in rows]


def _texts(service: Service, run_id: str) -> list[Any]:
    found = (
        "SELECT round, external_id, c.split, source, c.position, c.text, seed FROM completions c "
        "JOIN prompts p ON p.id = prompt_id WHERE run_id = :run ORDER BY 1, 2, 3, 4, 5"
    )
    return service.rows(found, run=run_id)


def _frontier(service: Service, run_id: str) -> list[dict[str, Any]]:
    report = service.get(f"/v1/runs/{run_id}/report")
    return [{name: value for name, value in each.items() if name != "checkpoint_id"} for each in report["frontier"]]
