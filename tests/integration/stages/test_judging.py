"""The judge stage against a real endpoint: every paid verdict is stored, and what is missing is never a preference."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from app.db.models import Comparison, Completion, Event, Preference, Run, RunStatus, Stage, Verdict
from app.db.session import WriteSession
from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.evidence import JudgeMetrics
from app.rlaif.recipe import StageKind
from app.services import engine, secrets
from tests.integration.stages.endpoint import RunningJudge
from tests.integration.stages.in_process import Watch
from tests.integration.stages.world import World
from tests.scripted_judge import Script, ScriptedJudge
from tests.stack import wait_for
from workers.stages.contract import GiveBack

TEXTS = (
    "Thank you for asking. It is so.",
    "It is so, and it goes on and on and on for a very long while.",
    "It is so.",
)
PROMPTS, PAIRS = 5, 3
RECIPE: dict[str, Any] = {
    "seed": 3,
    "stop_after": "prefer",
    "sample": {"source": "prompt_set"},
    "judge": {"prompts_per_shard": 100},
}


def prompts_with(*texts: str, count: int = PROMPTS, **extra: Any) -> list[dict[str, Any]]:
    """Training prompts that bring their own candidates."""
    return [
        {
            "id": f"p{number}",
            "messages": [{"role": "user", "content": f"Is it so, for the {number}th time?"}],
            "cohort": "helpfulness",
            "split": "train",
            "candidates": [f"{text} ({number})" for text in texts],
        }
        | extra
        for number in range(count)
    ]


@pytest.fixture
def endpoint() -> Iterator[RunningJudge]:
    with RunningJudge() as running:
        yield running


@pytest.fixture
def run_id(world: World, endpoint: RunningJudge) -> str:
    return _run(world, endpoint)


def _run(world: World, endpoint: RunningJudge, *texts: str, **recipe: Any) -> str:
    """A run whose judge stage is next."""
    judge = world.add_judge(endpoint.spec())
    run_id = world.add_run(RECIPE | recipe, world.add_prompts(prompts_with(*(texts or TEXTS))), judge=judge)
    _import(world, run_id)
    return run_id


def _import(world: World, run_id: str) -> None:
    shard_id = world.next_shard(run_id)
    assert shard_id is not None
    world.work_off(shard_id)


def _retry(world: World, run_id: str) -> dict[str, Any]:
    """What the event of the retry says."""
    with world.sessions.begin() as session:
        engine.retry(session, session.get_one(Run, run_id))
    return world.rows(Event, run_id, type="run.retried")[-1].data


class TestVerdicts:
    def test_every_pair_is_asked_once_in_each_order(self, world: World, endpoint: RunningJudge, run_id: str) -> None:
        assert world.drive(run_id).status is RunStatus.SUCCEEDED
        verdicts = world.rows(Verdict, run_id)
        assert Counter(verdict.order for verdict in verdicts) == dict.fromkeys(Order, PROMPTS * PAIRS)
        asked = [call["prompt_hash"] for call in endpoint.judge.calls]
        assert sorted(asked) == sorted(set(asked)) == sorted(str(verdict.prompt_hash) for verdict in verdicts)

    def test_the_better_completion_is_believed_better_wherever_it_stands(self, world: World, run_id: str) -> None:
        """By the endpoint's own rubric the first text is the best: it alone is polite."""
        world.drive(run_id)
        with_best = {key: row[1] for key, row in world.preferences(run_id).items() if 0 in key[1:]}
        assert {(first == 0) is (p > 0.5) for (_, first, _), p in with_best.items()} == {True}
        assert {first == 0 for _, first, _ in with_best} == {True, False}

    def test_cost_is_the_sum_of_the_verdicts(self, world: World, run_id: str) -> None:
        world.drive(run_id)
        verdicts, stage = world.rows(Verdict, run_id), world.stage(run_id, StageKind.JUDGE)
        assert stage.judge_usd == sum(verdict.cost_usd for verdict in verdicts) > 0
        assert stage.judge_calls == len(verdicts)
        assert stage.prompt_tokens == sum(verdict.prompt_tokens for verdict in verdicts)

    def test_metrics_are_evidence(self, world: World, run_id: str) -> None:
        world.drive(run_id)
        metrics = JudgeMetrics.model_validate(world.stage(run_id, StageKind.JUDGE).metrics)
        assert (metrics.verdicts, metrics.coverage, metrics.position_consistency) == (PROMPTS * PAIRS * 2, 1.0, 1.0)

    def test_an_answer_is_stored_while_others_are_still_awaited(
        self, world: World, endpoint: RunningJudge, run_id: str
    ) -> None:
        endpoint.judge.script = Script()
        endpoint.judge.script.faults.extend(["none", "none", "none", *["held"] * 4])
        shard_id = world.next_shard(run_id)
        assert shard_id is not None
        worker = threading.Thread(target=world.work_off, args=(shard_id,))
        worker.start()
        wait_for(lambda: len(world.rows(Verdict, run_id)) == 3, what="three verdicts stored beside four held calls")
        endpoint.release()
        worker.join(30)
        assert len(world.rows(Verdict, run_id)) == PROMPTS * PAIRS * 2

    def test_a_principle_is_drawn_for_each_comparison(self, world: World, endpoint: RunningJudge) -> None:
        plain = world.rubric
        principles = ["Be kind.", "Be exact."]
        world.rubric = world.add_rubric(
            {"criteria": [{"name": "good", "description": "Is good."}], "principles": principles}
        )
        run_id = _run(world, endpoint)
        world.rubric = plain
        world.drive(run_id)
        assert {comparison.principle for comparison in world.rows(Comparison, run_id)} == set(principles)

    def test_the_judge_is_shown_the_tools_of_a_prompt(self, world: World, endpoint: RunningJudge) -> None:
        """All else is the same, so that only the tools can make it another question."""
        tools = [{"type": "function", "function": {"name": "tide", "parameters": {}}}]
        asked = []
        for brought in (None, tools):
            judge = world.add_judge(endpoint.spec())
            prompt_set = world.add_prompts(prompts_with(*TEXTS, tools=brought))
            run = world.drive(world.add_run(RECIPE, prompt_set, judge=judge))
            assert run.status is RunStatus.SUCCEEDED
            asked.append({verdict.prompt_hash for verdict in world.rows(Verdict, run.id)})
        assert [len(hashes) for hashes in asked] == [PROMPTS * PAIRS * 2] * 2
        assert asked[0].isdisjoint(asked[1])

    def test_identical_completions_are_counted_and_not_asked(self, world: World, endpoint: RunningJudge) -> None:
        run_id = _run(world, endpoint, TEXTS[0], TEXTS[1], TEXTS[0])
        world.drive(run_id)
        metrics = world.stage(run_id, StageKind.PREFER).metrics
        assert (metrics["kept"], metrics["dropped"]) == (PROMPTS, {"identical": PROMPTS})
        assert metrics["pair_quality"]["dropped"] == {"identical": PROMPTS}
        assert [found["code"] for found in metrics["pair_quality"]["warnings"]] == ["few_pairs", "identical_pairs"]
        assert len(endpoint.judge.calls) == PROMPTS * 2


class TestMissingVerdicts:
    def test_invalid_never_becomes_a_preference(self, world: World, endpoint: RunningJudge) -> None:
        run_id = _run(world, endpoint, TEXTS[0], TEXTS[1], "[[fault:garbage]]", judge={"minimum_coverage": 0.0})
        assert world.drive(run_id).status is RunStatus.SUCCEEDED
        invalid = {verdict.comparison_id for verdict in world.rows(Verdict, run_id, answer=Answer.INVALID)}
        assert len(invalid) == PROMPTS * 2
        believed = world.preferences(run_id)
        dropped = [row for (_, *places), row in believed.items() if 2 in places]
        assert [(row[1], row[3]) for row in dropped] == [(None, "no_valid_verdict")] * PROMPTS * 2
        assert sum(row[3] is None for row in believed.values()) == PROMPTS
        counted = [row.provenance["answers"]["invalid"] for row in world.rows(Preference, run_id)]
        assert sorted(counted) == [0] * PROMPTS + [2] * PROMPTS * 2

    def test_too_many_fail_the_run_and_say_why(self, world: World, endpoint: RunningJudge) -> None:
        run = world.drive(_run(world, endpoint, TEXTS[0], TEXTS[1], "[[fault:garbage]]"))
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert (run.error["code"], run.error["stage"]) == ("coverage_below_floor", "judge")
        assert "33.3%" in run.error["detail"]
        assert f"{PROMPTS * 4} {InvalidReason.SERVER}" in run.error["detail"]
        assert len(world.rows(Verdict, run.id)) == PROMPTS * PAIRS * 2
        figures = JudgeMetrics.model_validate(world.stage(run.id, StageKind.JUDGE).metrics)
        assert figures.coverage == pytest.approx(1 / 3)

    def test_a_gate_refuses_and_what_it_read_is_kept(self, world: World, endpoint: RunningJudge) -> None:
        endpoint.judge.first_pull = 100.0
        run = world.drive(_run(world, endpoint, gates={"minimum_consistency": 0.9}))
        assert (run.error or {})["code"] == "gate_failed"
        figures = JudgeMetrics.model_validate(world.stage(run.id, StageKind.JUDGE).metrics)
        assert figures.position_consistency is not None
        assert figures.position_consistency < 0.9

    def test_a_retry_asks_again_what_the_endpoint_left_open(self, world: World, endpoint: RunningJudge) -> None:
        endpoint.judge.script.faults.extend(["garbage"] * 12)
        run = world.drive(_run(world, endpoint, judge={"prompts_per_shard": 2}))
        assert (run.error or {})["code"] == "coverage_below_floor"
        assert "Retry the run" in (run.error or {})["detail"]
        spent = world.stage(run.id, StageKind.JUDGE).judge_usd

        assert _retry(world, run.id) == {"asked_again": 12}

        assert world.drive(run.id).status is RunStatus.SUCCEEDED
        assert len(endpoint.judge.calls) == PROMPTS * PAIRS * 2 + 12
        verdicts, stage = world.rows(Verdict, run.id), world.stage(run.id, StageKind.JUDGE)
        assert len(verdicts) == PROMPTS * PAIRS * 2
        assert {verdict.invalid_reason for verdict in verdicts} == {None}
        assert (stage.metrics["coverage"], stage.judge_calls) == (1.0, PROMPTS * PAIRS * 2 + 12)
        assert stage.judge_usd > spent > 0

    def test_a_retry_takes_the_judge_s_own_silence_for_an_answer(self, world: World, endpoint: RunningJudge) -> None:
        run_id = _run(world, endpoint, TEXTS[0], TEXTS[1], "[[fault:refusal]]")
        assert (world.drive(run_id).error or {})["code"] == "coverage_below_floor"
        assert _retry(world, run_id) == {"asked_again": 0}
        assert (world.drive(run_id).error or {})["code"] == "coverage_below_floor"
        assert len(endpoint.judge.calls) == PROMPTS * PAIRS * 2

    def test_a_judge_that_is_away_costs_no_attempt(self, world: World, run_id: str) -> None:
        with RunningJudge() as gone:
            spec = gone.spec(outage_after=2, max_attempts=2)
        judge = world.add_judge(spec)
        run_id = world.add_run(RECIPE, world.add_prompts(prompts_with(*TEXTS)), judge=judge)
        _import(world, run_id)
        work = world.claim(world.next_shard(run_id) or "")
        with pytest.raises(GiveBack) as raised:
            world.execute(work)
        assert (raised.value.code, raised.value.retry_after_s) == ("judge_unavailable", None)
        assert world.rows(Verdict, run_id) == []

    def test_a_judge_that_says_when_to_come_back_is_believed(
        self, world: World, endpoint: RunningJudge, run_id: str
    ) -> None:
        endpoint.judge.script.faults.extend(["429-long"] * 4)
        work = world.claim(world.next_shard(run_id) or "")
        with pytest.raises(GiveBack) as raised:
            world.execute(work)
        assert (raised.value.code, raised.value.retry_after_s) == ("judge_unavailable", 7200)

    def test_a_wrong_key_fails_the_run_at_once(self, world: World) -> None:
        with RunningJudge(ScriptedJudge(key="right")) as endpoint:
            run = world.drive(_run(world, endpoint))
        assert run.error is not None
        assert run.error["code"] == "judge_misconfigured"
        assert world.rows(Verdict, run.id) == []

    def test_the_secret_of_the_host_is_sent(self, world: World) -> None:
        _store_key(world, "key", host="127.0.0.1")
        with RunningJudge(ScriptedJudge(key="right")) as endpoint:
            judge = world.add_judge(endpoint.spec(secret="key"))
            run = world.drive(world.add_run(RECIPE, world.add_prompts(prompts_with(*TEXTS)), judge=judge))
        assert run.status is RunStatus.SUCCEEDED

    def test_a_key_goes_nowhere_when_the_judges_address_has_become_another(self, world: World) -> None:
        """The endpoint is the same and allowed; only its host is written differently than the key's."""
        _store_key(world, "other", host="judge.example.com")
        with RunningJudge(ScriptedJudge(key="right")) as endpoint:
            judge = world.add_judge(endpoint.spec(secret="other"))
            run = world.drive(world.add_run(RECIPE, world.add_prompts(prompts_with(*TEXTS)), judge=judge))
            assert endpoint.judge.calls == []
        assert (run.status, (run.error or {})["code"]) == (RunStatus.FAILED, "secret_host_mismatch")
        assert "judge.example.com" in (run.error or {})["detail"]


def _store_key(world: World, name: str, *, host: str) -> None:
    with world.sessions.begin() as session:
        secrets.create(
            WriteSession(session),
            world.project,
            name=name,
            host=host,
            value=SecretStr("right"),
            settings=world.settings,
        )


class TestBudget:
    def test_it_pauses_the_run_and_raising_it_goes_on(self, world: World, endpoint: RunningJudge) -> None:
        run_id = _run(world, endpoint, budget={"judge_usd": 2.0})
        paused = world.drive(run_id)
        assert paused.status is RunStatus.PAUSED
        assert "budget" in str(paused.pause_reason)
        verdicts = world.rows(Verdict, run_id)
        spent, dearest = sum(row.cost_usd for row in verdicts), max(row.cost_usd for row in verdicts)
        assert Decimal(2) <= spent <= 2 + 4 * dearest
        self._raise_budget(world, run_id)
        assert world.drive(run_id).status is RunStatus.SUCCEEDED
        assert len(endpoint.judge.calls) == len(world.rows(Verdict, run_id)) == PROMPTS * PAIRS * 2

    @staticmethod
    def _raise_budget(world: World, run_id: str) -> None:
        with world.sessions.begin() as session:
            run = session.get_one(Run, run_id)
            run.recipe = run.recipe | {"budget": {"judge_usd": 1000.0}}
            engine.resume(session, run)


class TestInterruption:
    def test_a_stop_keeps_what_was_answered(self, world: World, endpoint: RunningJudge, run_id: str) -> None:
        work = world.claim(world.next_shard(run_id) or "")
        with pytest.raises(GiveBack):
            world.execute(work, progress=Watch(stop_after=12))
        stored = len(world.rows(Verdict, run_id))
        assert stored == len(endpoint.judge.calls)
        assert 0 < stored < PROMPTS * PAIRS * 2
        world.release(work)
        world.drive(run_id)
        assert len(endpoint.judge.calls) == len(world.rows(Verdict, run_id)) == PROMPTS * PAIRS * 2

    def test_a_slow_call_does_not_hold_up_a_stop(self, world: World, endpoint: RunningJudge, run_id: str) -> None:
        endpoint.judge.script.faults.extend(["held"] * 4)
        work = world.claim(world.next_shard(run_id) or "")
        with pytest.raises(GiveBack):
            world.execute(work, progress=Watch(stop_after=5))

    def test_killed_at_every_transaction_it_believes_the_same(
        self, world: World, endpoint: RunningJudge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("workers.stages.ledger.STORED_AT_ONCE", 5)
        undisturbed, disturbed = _run(world, endpoint), _run(world, endpoint)
        world.drive(undisturbed)
        assert world.drive_killed(disturbed) > PROMPTS * PAIRS * 2 / 5 / 2
        assert world.preferences(disturbed) == world.preferences(undisturbed)
        assert len(world.preferences(undisturbed)) == PROMPTS * PAIRS
        assert self._questions(world, disturbed) == self._questions(world, undisturbed)

    @staticmethod
    def _questions(world: World, run_id: str) -> list[str]:
        """What was asked, to the letter."""
        return sorted(str(verdict.prompt_hash) for verdict in world.rows(Verdict, run_id))

    def test_done_twice_a_shard_adds_nothing(self, world: World, endpoint: RunningJudge, run_id: str) -> None:
        tables: tuple[type[Any], ...] = (Completion, Comparison, Verdict)
        while (shard_id := world.next_shard(run_id)) is not None:
            work = world.claim(shard_id)
            world.execute(work)
            before = [[row.id for row in world.rows(table, run_id)] for table in tables]
            calls, spent = len(endpoint.judge.calls), world.get(Stage, work.stage_id).judge_usd
            again = world.execute(work)
            assert [[row.id for row in world.rows(table, run_id)] for table in tables] == before
            assert (len(endpoint.judge.calls), world.get(Stage, work.stage_id).judge_usd) == (calls, spent)
            world.complete(work, again)
        assert world.get(Run, run_id).status is RunStatus.SUCCEEDED
