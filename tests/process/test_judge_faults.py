"""F14, F15 and F27 against real processes: an endpoint that misbehaves, that is gone, and that is killed beside."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.address import free_port
from cli.processes import IO_SHARDS
from tests.judges.test_endpoint_faults import FINAL, TRANSIENT
from tests.process.judge_audit import audit
from tests.process.judge_server import Call, JudgeServer
from tests.process.service import CANARY, EXAMPLES, Service
from tests.stack import wait_for
from workers.stages.ledger import STORED_WITHIN_S

FAULTS = {name: reason for name, reason in {**TRANSIENT, **FINAL}.items() if not name.startswith("429")}
PASSING = ("429", "429-seconds", "429-date", "503-seconds")
"""Suffered once: who is sent away comes back. An endpoint that refuses for ever is an outage (F15)."""

ATTEMPTS, SOUND, PROMPTS = 2, 5, 40
ASKED = len(FAULTS) + len(PASSING) + SOUND
A_COMMIT_S = 1.0  # on a busy machine
GOOD, BAD = "Thank you. It is so.", "No."
RECIPE: dict[str, Any] = {"seed": 1, "stop_after": "judge", "sample": {"source": "prompt_set"}}


@dataclass(frozen=True)
class Judged:
    """A run that has judged to its end, the calls that the endpoint received for it, and its verdicts."""

    run_id: str
    calls: list[Call]
    verdicts: list[dict[str, Any]]


@pytest.fixture(scope="module")
def misjudged(running_service: Service) -> Judged:
    """One prompt a fault, whose first candidate makes the endpoint suffer it on every call or once; five without."""
    running_service.mend()
    lines = [_prompt(fault, f"{GOOD} [[fault:{fault}]]") for fault in FAULTS]
    lines += [_prompt(fault, f"{GOOD} [[fault:{fault}:1]]") for fault in PASSING]
    lines += [_prompt(f"sound-{number}", f"{GOOD} ({number})") for number in range(SOUND)]
    before = len(running_service.judge.calls())
    run_id = _submit(running_service, _uploaded(running_service, lines), minimum_coverage=0.0)
    running_service.finished(run_id)
    verdicts = running_service.pages(f"/v1/runs/{run_id}/verdicts")
    return Judged(run_id, running_service.judge.calls()[before:], verdicts)


@pytest.fixture(scope="module")
def sound_prompts(running_service: Service) -> str:
    return _uploaded(running_service, [_prompt(f"p{number}", f"{GOOD} ({number})") for number in range(PROMPTS)])


class TestMisbehaving:
    """F14."""

    def test_every_fault_is_retried_within_its_budget_and_stored_with_its_reason(
        self, service: Service, misjudged: Judged
    ) -> None:
        assert len(misjudged.verdicts) == 2 * ASKED
        sound = [f"sound-{number}" for number in range(SOUND)]
        expected: set[tuple[str, str | None, int]]
        expected = {(fault, reason, ATTEMPTS if fault in TRANSIENT else 1) for fault, reason in FAULTS.items()}
        expected |= {(fault, None, 2) for fault in PASSING} | {(id_, None, 1) for id_ in sound}
        found = Counter(
            (row.external_id, row.invalid_reason, row.attempts) for row in _verdicts(service, misjudged.run_id)
        )
        assert found == dict.fromkeys(expected, 2)

    def test_every_call_is_accounted_for(self, misjudged: Judged) -> None:
        assert audit(misjudged.calls, misjudged.verdicts).clean

    def test_coverage_is_reported_with_the_reasons(self, service: Service, misjudged: Judged) -> None:
        judge = service.get(f"/v1/runs/{misjudged.run_id}/report")["judge"]["metrics"]
        assert judge["coverage"] == pytest.approx((SOUND + len(PASSING)) / ASKED)
        assert judge["invalid"] == {reason: 2 * count for reason, count in Counter(FAULTS.values()).items()}

    def test_below_the_recipes_floor_the_run_fails_and_says_so(self, service: Service) -> None:
        lines = [_prompt(f"sound-{number}", f"{GOOD} ({number})") for number in range(SOUND)]
        lines += [_prompt(f"cut-{number}", f"{GOOD} ({number}) [[fault:cut]]") for number in range(2)]
        lines += [_prompt("refusal", f"{GOOD} [[fault:refusal]]")]
        error = service.reaches(_submit(service, _uploaded(service, lines), minimum_coverage=0.9), "failed")["error"]
        assert (error["code"], error["stage"]) == ("coverage_below_floor", "judge")
        for told in (f"{SOUND / (SOUND + 3):.1%}", "4 server", "2 refusal", "90"):
            assert told in error["detail"]

    def test_the_audit_finds_what_a_service_that_loses_or_miscounts_would_leave(self, misjudged: Judged) -> None:
        """A check that cannot fail is no check: rows as three mutants would have stored them."""
        calls, rows = misjudged.calls, misjudged.verdicts
        retried = next(row for row in rows if row["attempts"] == ATTEMPTS)
        others = [row for row in rows if row is not retried]
        assert audit(calls, others).lost == {retried["prompt_hash"]}
        assert audit(calls, [*rows, retried]).duplicated == {retried["prompt_hash"]}
        assert audit(calls, [*others, retried | {"attempts": 1}]).miscounted == {retried["prompt_hash"]}


class TestGone:
    """F15, with minutes made seconds."""

    def test_a_judge_that_is_down_is_waited_for_and_burns_no_attempt(
        self, service: Service, sound_prompts: str, tmp_path: Path
    ) -> None:
        port = free_port("127.0.0.1")
        with JudgeServer(tmp_path, rubric=EXAMPLES / "rubric.json", key=CANARY, port=port) as judge:
            judge.script(latency_s=0.1)
            spec: dict[str, Any] = {
                "base_url": judge.base_url,
                "max_concurrency": 2,
                "outage_after": 3,
                "max_attempts": 2,
            }
            run_id = _submit(service, sound_prompts, shard_attempts=1, **spec)
            wait_for(lambda: service.count("verdicts", run_id) >= 5, what="the first verdicts", timeout_s=60)
        waiting = wait_for(lambda: service.stage(run_id, "judge")["waiting_for"], what="what the stage waits for")
        assert waiting["code"] == "judge_unavailable"
        stored = service.count("verdicts", run_id)
        assert service.run(run_id)["status"] == "running"
        assert not service.rows("SELECT 1 FROM shards WHERE run_id = :run AND attempt > 1", run=run_id)

        with JudgeServer(tmp_path, rubric=EXAMPLES / "rubric.json", key=CANARY, port=port) as judge:
            service.finished(run_id)
            calls = judge.calls()
        verdicts = service.pages(f"/v1/runs/{run_id}/verdicts")
        assert len(verdicts) == 2 * PROMPTS
        assert stored < 2 * PROMPTS
        assert {row["answer"] for row in verdicts} <= {"A", "B", "TIE"}, "nobody's absence is an answer"
        assert audit(calls, verdicts).lost == frozenset()
        paid_twice = len(calls) - len({call.question for call in calls})
        assert paid_twice <= 2 * IO_SHARDS, "no more than was in flight when it went down"
        assert {row["data"]["code"] for row in service.events(run_id, "shard.given_back")} == {"judge_unavailable"}
        assert service.events(run_id, "shard.attempt_failed") == []


class TestKilledWorker:
    def test_only_what_was_not_stored_yet_is_asked_again(self, service: Service, sound_prompts: str) -> None:
        """That is: calls in flight, and answers of the last moment, which are stored together."""
        before, latency_s, concurrency = len(service.judge.calls()), 0.2, 2
        kills: list[tuple[datetime, datetime]] = []
        service.judge.script(latency_s=latency_s)
        run_id = _submit(service, sound_prompts, max_concurrency=concurrency, shard_attempts=10)
        for stored in (12, 24, 36):
            wait_for(lambda at=stored: service.count("verdicts", run_id) >= at, what="more verdicts", timeout_s=60)  # type: ignore[misc]
            began = datetime.now(UTC)
            service.kill("worker-io")
            kills.append((began, datetime.now(UTC)))
            service.start("worker-io")
        service.finished(run_id)

        calls, verdicts = service.judge.calls()[before:], service.pages(f"/v1/runs/{run_id}/verdicts")
        assert len(verdicts) == 2 * PROMPTS
        found = audit(calls, verdicts)
        assert (found.lost, found.duplicated) == (frozenset(), frozenset())
        unstored = timedelta(seconds=latency_s + STORED_WITHIN_S + A_COMMIT_S)
        again = list(_asked_again(calls))
        explained = [
            each
            for each in again
            if any(each[0].at <= ended and began <= each[0].at + unstored for began, ended in kills)
        ]
        assert explained == again
        assert len(again) <= len(kills) * IO_SHARDS * 2 * concurrency
        assert len(service.events(run_id, "shard.attempt_failed")) >= 1, "a kill that met no judging proves nothing"


def _asked_again(calls: list[Call]) -> Iterator[tuple[Call, Call]]:
    """Each call whose question was asked again later, with the next call of it."""
    latest: dict[str, Call] = {}
    for call in calls:
        if call.question in latest:
            yield latest[call.question], call
        latest[call.question] = call


class TestBudget:
    """F27."""

    def test_it_pauses_with_the_reason_overshoots_by_what_is_in_flight_and_goes_on(
        self, service: Service, sound_prompts: str
    ) -> None:
        before, concurrency = len(service.judge.calls()), 2
        service.judge.script(latency_s=0.05)
        run_id = _submit(service, sound_prompts, max_concurrency=concurrency, budget={"judge_usd": 0.01})
        paused = service.reaches(run_id, "paused")
        assert "budget" in paused["pause_reason"]
        spent = float(paused["total"]["judge_usd"])
        ((dearest,),) = service.rows("SELECT max(cost_usd) FROM verdicts WHERE run_id = :run", run=run_id)
        assert 0.01 <= spent <= 0.01 + IO_SHARDS * concurrency * float(dearest)
        assert len(service.judge.calls()) - before == service.count("verdicts", run_id), "what was paid is stored"

        service.post(f"/v1/runs/{run_id}:resume", {"budget": {"judge_usd": 5.0}})
        service.finished(run_id)
        assert audit(service.judge.calls()[before:], service.pages(f"/v1/runs/{run_id}/verdicts")).clean


def _submit(
    service: Service,
    prompt_set: str,
    *,
    minimum_coverage: float = 0.9,
    budget: dict[str, float] | None = None,
    shard_attempts: int = 3,
    **spec: Any,
) -> str:
    """A run that imports the prompts' candidates, and ends once they are judged."""
    # A model of its own: the pace that one test's refusals led to is none of another's.
    usual = {
        "model": service.name("model"),
        "timeout_s": 1.0,
        "max_attempts": ATTEMPTS,
        "question_timeout_s": 30.0,
        "outage_after": 1000,
    }
    judge = service.endpoint_judge(**(usual | spec))
    section = {"minimum_coverage": minimum_coverage, "prompts_per_shard": 10}
    recipe = RECIPE | {"judge": section, "max_attempts": shard_attempts} | ({"budget": budget} if budget else {})
    return service.submit(judge=judge, prompt_set=prompt_set, recipe=recipe, evaluation_judge=None)


def _prompt(id_: str, first: str) -> str:
    messages = [{"role": "user", "content": f"Is it so? ({id_})"}]
    return json.dumps({"id": id_, "messages": messages, "split": "train", "candidates": [first, BAD]})


def _uploaded(service: Service, lines: list[str]) -> str:
    answer = service.client.post(
        "/v1/prompt-sets:upload",
        params={"name": service.name("prompts")},
        headers={"Content-Type": "application/jsonl"},
        content="\n".join(lines).encode(),
    )
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def _verdicts(service: Service, run_id: str) -> Iterator[Any]:
    query = (
        "SELECT external_id, invalid_reason, attempts FROM verdicts v JOIN comparisons c ON c.id = comparison_id "
        "JOIN prompts p ON p.id = prompt_id WHERE v.run_id = :run"
    )
    return iter(service.rows(query, run=run_id))
