"""`kill -9` of the worker in each stage of one run, which still ends with the results of an undisturbed one."""

from __future__ import annotations

from typing import Any

from tests.process.service import Service
from tests.stack import wait_for

STAGES = ("sample", "judge", "prefer", "reward_model", "policy", "evaluate")


class TestKills:
    def test_run_killed_in_each_stage_ends_like_an_undisturbed_one(self, service: Service, endpoint_run: str) -> None:
        run_id = service.submit(judge=service.endpoint_judge(max_concurrency=2))
        _kill_while_sampling(service, run_id)
        _kill_while_judging(service, run_id)
        _kill_before_writing(service, "preferences", "worker-io")
        for kind in ("reward_model", "policy"):
            _kill_while_training(service, run_id, kind)
        _kill_before_writing(service, "evaluations", "worker-io")
        service.finished(run_id)

        failures = service.events(run_id, "shard.attempt_failed")
        assert {event["data"]["stage"] for event in failures} == set(STAGES)
        assert {event["data"]["code"] for event in failures} == {"lease_expired"}
        for of_run in (_completions, _preferences, _weights, _findings):
            assert of_run(service, run_id) == of_run(service, endpoint_run)
        assert _asked_again(service, run_id) == []
        assert service.get(f"/v1/runs/{run_id}/report")["reward_model"]["resumed_from"] > 0


def _kill_while_sampling(service: Service, run_id: str) -> None:
    """After some shards have stored their completions, when the next one is about to."""
    wait_for(lambda: service.count("completions", run_id), what="the first completions", timeout_s=90)
    _kill_before_writing(service, "completions", "worker-gpu")
    service.judge.script(latency_s=0.2)


def _kill_while_judging(service: Service, run_id: str) -> None:
    """With some verdicts stored, some questions in flight, and most not yet asked."""
    wait_for(lambda: service.count("verdicts", run_id) >= 6, what="the first verdicts", timeout_s=90)
    service.kill("worker-io")
    service.start("worker-io")


def _kill_while_training(service: Service, run_id: str, kind: str) -> None:
    """At any step, and at the latest before what was trained can be adopted."""
    service.opens(run_id, kind)
    with service.held_up("checkpoints"):
        service.trains(run_id, kind)
        service.kill("worker-gpu")
    service.start("worker-gpu")


def _kill_before_writing(service: Service, table: str, worker: str) -> None:
    """When all is done but the writing."""
    with service.held_up(table) as somebody_waits:
        service.judge.script()
        wait_for(somebody_waits, what=f"somebody about to write {table}", timeout_s=90)
        service.kill(worker)
    service.start(worker)


def _completions(service: Service, run_id: str) -> list[Any]:
    """Of a run and of the run that it goes on from, whose own base completions another reward model has scored."""
    found = (
        "SELECT external_id, c.split, source, c.position, c.text, seed, "
        "CASE source WHEN 'policy' THEN reward END FROM completions c "
        "JOIN prompts p ON p.id = prompt_id WHERE run_id = ANY(:runs) "
        "AND (source <> 'policy' OR run_id = :run) ORDER BY 1, 2, 3, 4"
    )
    return service.rows(found, runs=_sources(service, run_id), run=run_id)


def _preferences(service: Service, run_id: str) -> list[Any]:
    found = (
        "SELECT external_id, a.text, b.text, f.split, probability, weight, drop_reason FROM preferences f "
        "JOIN comparisons c ON c.id = comparison_id JOIN prompts p ON p.id = c.prompt_id "
        "JOIN completions a ON a.id = first_id JOIN completions b ON b.id = second_id "
        "WHERE f.run_id = :run ORDER BY 1, 2, 3"
    )
    return service.rows(found, run=run_id)


def _weights(service: Service, run_id: str) -> list[Any]:
    return service.rows("SELECT kind, step, digest FROM checkpoints WHERE run_id = :run ORDER BY 1", run=run_id)


def _findings(service: Service, run_id: str) -> dict[str, Any]:
    """The report's figures, without what a figure is of, and without where an interrupted training went on."""
    report = service.get(f"/v1/runs/{run_id}/report")
    del report["reward_model"]["resumed_from"]
    names = ("by_cohort", "length", "reward", "reward_model", "preferences", "disagreement_with_training_judge")
    return {name: report[name] for name in names} | {"headline": report["headline"]["win_rate"]}


def _sources(service: Service, run_id: str) -> list[str]:
    return [run_id, *(stage["source_run_id"] for stage in service.run(run_id)["stages"] if stage["source_run_id"])]


def _asked_again(service: Service, run_id: str) -> list[str]:
    """Questions that the judge was asked although their verdict was stored."""
    verdicts = "SELECT prompt_hash, created_at FROM verdicts WHERE run_id = :run AND prompt_hash IS NOT NULL"
    stored = {row.prompt_hash: row.created_at for row in service.rows(verdicts, run=run_id)}
    calls = service.judge.calls()
    assert stored.keys() <= {call.question for call in calls}
    return [call.question for call in calls if call.question in stored and call.at > stored[call.question]]
