"""A run whose questions were answered before pays for none of them, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from app.db.models import CachedReply, RunStatus, Verdict
from app.repositories import reply_cache
from app.rlaif.comparison import Answer, InvalidReason
from app.rlaif.recipe import StageKind
from app.schemas.stage import usage_of
from tests.integration.stages.endpoint import RunningJudge
from tests.integration.stages.test_judging import PAIRS, PROMPTS, RECIPE, TEXTS, prompts_with
from tests.integration.stages.world import World

QUESTIONS = PROMPTS * PAIRS * 2


@pytest.fixture
def endpoint() -> Iterator[RunningJudge]:
    with RunningJudge() as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(world: World) -> None:
    with world.sessions.begin() as session:
        reply_cache.forget(session, world.project, older_than_days=None)


def judged(world: World, endpoint: RunningJudge, *, spec: dict[str, Any] | None = None, **recipe: Any) -> str:
    """A run over the same prompts as any other, judged to its end."""
    judge = world.add_judge(endpoint.spec(**(spec or {})))
    run_id = world.add_run(RECIPE | recipe, world.add_prompts(prompts_with(*TEXTS)), judge=judge)
    assert world.drive(run_id).status is RunStatus.SUCCEEDED
    return run_id


def cached(world: World, run_id: str) -> list[bool]:
    return [verdict.cached for verdict in world.rows(Verdict, run_id)]


class TestSecondRun:
    def test_asks_nothing_costs_nothing_and_believes_the_same(self, world: World, endpoint: RunningJudge) -> None:
        first = judged(world, endpoint)
        second = judged(world, endpoint, seed=4)
        assert len(endpoint.judge.calls) == QUESTIONS
        assert cached(world, first) == [False] * QUESTIONS
        assert cached(world, second) == [True] * QUESTIONS
        paid, free = (world.stage(run_id, StageKind.JUDGE) for run_id in (first, second))
        assert (float(free.judge_usd), free.judge_calls, free.cached_answers) == (0.0, 0, QUESTIONS)
        assert free.saved_usd == paid.judge_usd > 0
        assert (usage_of(free).cache_hit_rate, usage_of(paid).cache_hit_rate) == (1.0, 0.0)
        assert {row.cost_usd for row in world.rows(Verdict, second)} == {0}
        answers = [
            {(row.prompt_hash, row.raw_text) for row in world.rows(Verdict, run_id)} for run_id in (first, second)
        ]
        assert answers[0] == answers[1]
        firm = [[max(row[1], 1 - row[1]) for row in world.preferences(run_id).values()] for run_id in (first, second)]
        assert sorted(firm[0]) == pytest.approx(sorted(firm[1]))

    def test_says_what_the_tokens_cost(self, world: World, endpoint: RunningJudge) -> None:
        stage = world.stage(judged(world, endpoint), StageKind.JUDGE)
        (price,) = (stage.prices or {}).values()
        assert price["usd_per_million_input_tokens"] == "1000.0"
        assert "own configuration" in price["source"]

    @pytest.mark.parametrize(
        ("spec", "recipe"),
        [
            ({"temperature": 0.5}, {}),
            ({"model": "another"}, {}),
            ({"top_logprobs": None}, {}),
            ({}, {"judge": {"cache": False, "prompts_per_shard": 100}}),
        ],
        ids=["temperature", "model", "log-probs", "cache off"],
    )
    def test_of_another_question_or_without_the_cache_asks_anew(
        self, world: World, endpoint: RunningJudge, spec: dict[str, Any], recipe: dict[str, Any]
    ) -> None:
        judged(world, endpoint)
        again = judged(world, endpoint, spec=spec, **recipe)
        assert cached(world, again) == [False] * QUESTIONS
        assert len(endpoint.judge.calls) == 2 * QUESTIONS

    def test_asks_anew_what_is_too_old_and_keeps_the_newer_reply(self, world: World, endpoint: RunningJudge) -> None:
        judged(world, endpoint)
        with world.sessions.begin() as session:
            session.execute(text("UPDATE verdict_cache SET created_at = now() - interval '10 days'"))
        young = {"judge": {"cache_max_age_days": 7.0, "prompts_per_shard": 100}}
        assert cached(world, judged(world, endpoint, **young)) == [False] * QUESTIONS
        assert cached(world, judged(world, endpoint, **young)) == [True] * QUESTIONS

    def test_repeats_have_replies_of_their_own(self, world: World, endpoint: RunningJudge) -> None:
        judged(world, endpoint)
        again = judged(world, endpoint, judge={"repeats": 2, "prompts_per_shard": 100})
        assert sorted((row.repeat, row.cached) for row in world.rows(Verdict, again)) == sorted(
            [(0, True), (1, False)] * QUESTIONS
        )

    def test_asks_again_what_the_endpoint_failed_to_answer(self, world: World, endpoint: RunningJudge) -> None:
        endpoint.judge.script.faults.extend(["500"] * 3)
        judged(world, endpoint, judge={"minimum_coverage": 0.0, "prompts_per_shard": 100})
        assert cached(world, judged(world, endpoint)).count(False) == 3

    def test_asks_anew_where_the_repair_of_a_reply_was_not_heard(self, world: World, endpoint: RunningJudge) -> None:
        endpoint.judge.script.faults.extend(["rambling", "500"])
        spec, asking = {"max_concurrency": 1}, {"judge": {"minimum_coverage": 0.5}}
        first, second = (judged(world, endpoint, spec=spec, **asking) for _ in range(2))
        unread = [row for row in world.rows(Verdict, first) if row.answer is Answer.INVALID]
        assert [(row.invalid_reason, row.attempts) for row in unread] == [(InvalidReason.PARSE, 2)]
        assert [row.answer for row in world.rows(Verdict, second)].count(Answer.INVALID) == 0
        assert sorted(cached(world, second)) == [False] + [True] * (QUESTIONS - 1)

    def test_of_another_project_knows_nothing(self, world: World, endpoint: RunningJudge) -> None:
        judged(world, endpoint)
        with world.sessions() as session:
            keys = [row.key for row in session.query(CachedReply)]
            assert len(reply_cache.recall(session, world.project, keys, max_age_days=None)) == QUESTIONS
            assert reply_cache.recall(session, "project_2", keys, max_age_days=None) == {}

    def test_killed_at_every_transaction_verdict_and_reply_are_stored_together(
        self, world: World, endpoint: RunningJudge, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("workers.stages.ledger.STORED_AT_ONCE", 5)
        judge = world.add_judge(endpoint.spec())
        run_id = world.add_run(RECIPE, world.add_prompts(prompts_with(*TEXTS)), judge=judge)
        assert world.drive_killed(run_id) > 2
        assert cached(world, run_id) == [False] * QUESTIONS
        assert cached(world, judged(world, endpoint)) == [True] * QUESTIONS


class TestPrice:
    def test_a_limit_that_could_never_bind_is_refused(self, world: World, endpoint: RunningJudge) -> None:
        unpriced = {"usd_per_million_input_tokens": None, "usd_per_million_output_tokens": None}
        judge = world.add_judge(endpoint.spec(**unpriced))
        recipe = RECIPE | {"budget": {"judge_usd": 1.0}}
        run_id = world.add_run(recipe, world.add_prompts(prompts_with(*TEXTS)), judge=judge)
        run = world.drive(run_id)
        assert (run.status, (run.error or {})["code"]) == (RunStatus.FAILED, "price_unknown")
        assert "RLAIF_PRICES" in (run.error or {})["detail"]
        assert endpoint.judge.calls == []
