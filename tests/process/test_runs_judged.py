"""Runs whose judge is an endpoint: its faults, its price, its key, and the limit of what it may cost."""

from __future__ import annotations

from decimal import Decimal

from cli.processes import IO_SHARDS
from tests.process.service import CANARY, Service

FAULTS = ("429", "500", "garbage", "refusal", "echo-key")
RETRIED, INVALID = 3, 2
LIMIT, CONCURRENCY = Decimal("0.02"), 2
ASKED_ANEW = {"cache": False}
"""What another test paid for is not to be had here: each counts its own calls."""


class TestEndpoint:
    def test_faults_are_retried_or_counted_and_every_call_is_paid_once(
        self, service: Service, checked_run: str
    ) -> None:
        before, questions = len(service.judge.calls()), _questions(service, checked_run)
        service.judge.script(*FAULTS)
        run_id = service.fork(
            checked_run, "judge", judge=service.endpoint_judge(), recipe={"stop_after": "prefer", "judge": ASKED_ANEW}
        )
        run = service.finished(run_id)
        calls = service.judge.calls()[before:]
        verdicts = service.pages(f"/v1/runs/{run_id}/verdicts")
        assert len(verdicts) == questions
        assert len(calls) == questions + RETRIED == sum(row["attempts"] for row in verdicts)
        assert {call.question for call in calls} == {row["prompt_hash"] for row in verdicts}

        judge = service.get(f"/v1/runs/{run_id}/report")["judge"]["metrics"]
        assert judge["coverage"] == (questions - INVALID) / questions
        assert judge["invalid"] == {"refusal": 1, "server": 1}
        total = service.get(f"/v1/runs/{run_id}/usage")["total"]
        assert total == run["total"]
        assert total["judge_calls"] == len(calls)
        assert total["judge_usd"] == float(_price(service, run_id)) > 0

    def test_key_is_seen_by_nobody_but_the_judge(self, service: Service, checked_run: str) -> None:
        service.judge.script("echo-key", "500", "echo-key")
        run_id = service.fork(
            checked_run, "judge", judge=service.endpoint_judge(), recipe={"stop_after": "judge", "judge": ASKED_ANEW}
        )
        service.finished(run_id)
        assert service.rows("SELECT 1 FROM verdicts WHERE run_id = :run AND raw_text LIKE '%[redacted]%'", run=run_id)
        assert _places_of(service, CANARY, run_id) == []


class TestBudget:
    def test_limit_pauses_the_run_and_a_higher_one_lets_it_finish(self, service: Service, checked_run: str) -> None:
        before = len(service.judge.calls())
        judge = service.endpoint_judge(max_concurrency=CONCURRENCY)
        recipe = {"stop_after": "prefer", "judge": ASKED_ANEW, "budget": {"judge_usd": float(LIMIT)}}
        run_id = service.fork(checked_run, "judge", judge=judge, recipe=recipe)
        paused = service.reaches(run_id, "paused")
        assert "budget" in paused["pause_reason"]
        spent = _price(service, run_id)
        assert spent == Decimal(str(paused["total"]["judge_usd"]))
        assert LIMIT <= spent <= LIMIT + IO_SHARDS * CONCURRENCY * _dearest(service, run_id)
        assert len(service.judge.calls()) - before == service.count("verdicts", run_id), "what was paid is stored"

        refused = service.client.post(f"/v1/runs/{run_id}:resume")
        assert (refused.status_code, refused.json()["code"]) == (409, "budget_spent")
        service.post(f"/v1/runs/{run_id}:resume", {"budget": {"judge_usd": 5.0}})
        service.finished(run_id)
        asked = [call.question for call in service.judge.calls()[before:]]
        assert len(asked) == len(set(asked)) == _questions(service, checked_run), "nothing is asked twice"


def _questions(service: Service, run_id: str) -> int:
    """How many a judge is asked about the run's completions."""
    metrics = service.get(f"/v1/runs/{run_id}/report")["judge"]["metrics"]
    return int(metrics["verdicts"])


def _dearest(service: Service, run_id: str) -> Decimal:
    """What the dearest answer cost."""
    ((usd,),) = service.rows("SELECT max(cost_usd) FROM verdicts WHERE run_id = :run", run=run_id)
    return Decimal(usd)


def _price(service: Service, run_id: str) -> Decimal:
    """What the stored verdicts' tokens cost at the judge's price."""
    sums = "SELECT sum(prompt_tokens), sum(completion_tokens) FROM verdicts WHERE run_id = :run"
    ((read, written),) = service.rows(sums, run=run_id)
    return (2 * Decimal(int(read)) + 8 * Decimal(int(written))) / 1_000_000


def _places_of(service: Service, key: str, run_id: str) -> list[str]:
    """Where the key is: tables, logs, artifacts, answers."""
    tables = [row[0] for row in service.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    found = [
        f"table {table}"
        for table in tables
        if service.rows(f"SELECT 1 FROM {table} t WHERE t::text LIKE :key LIMIT 1", key=f"%{key}%")  # noqa: S608  a table of ours
    ]
    files = [path for root in (service.home.logs, service.home.artifacts) for path in root.rglob("*") if path.is_file()]
    found += [str(path) for path in files if key.encode() in path.read_bytes()]
    of_run = ("", "/events", "/verdicts?format=jsonl", "/report", "/usage")
    paths = ["/v1/judges", "/v1/secrets", "/metrics", *(f"/v1/runs/{run_id}{rest}" for rest in of_run)]
    return found + [path for path in paths if key in service.client.get(path).text]
