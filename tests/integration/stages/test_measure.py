"""Evaluations without training: an endpoint and a model against each other, killed anywhere, and nothing paid twice."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from app.db.models import Completion, CompletionSource, Evaluation, Run, RunKind, RunStatus, Stage
from app.rlaif.evidence import EvaluationMetrics
from app.rlaif.recipe import StageKind
from app.schemas.evaluation import MeasureIn
from app.services import reports
from tests.integration.stages.endpoint import RunningJudge
from tests.integration.stages.world import World, example_prompts
from tests.scripted_judge import ScriptedJudge

HELD_OUT = 6
SAMPLE = {"max_new_tokens": 24, "held_out_completions": 2, "prompts_per_shard": 4}
POLITE = "Thank you for asking about {topic}. It is a fine thing to know."


class Writer(ScriptedJudge):
    """Answers prompts instead of judging; `cuts` says that every answer ended at the token limit."""

    cuts = False

    def _fault_in_text(self, body: dict[str, Any]) -> str | None:
        return None

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        said = POLITE.format(topic=body["messages"][-1]["content"][-20:])
        message = {"role": "assistant", "content": said}
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "length" if self.cuts else "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 12, "total_tokens": 22},
        }


@pytest.fixture
def writer() -> Iterator[RunningJudge]:
    with RunningJudge(Writer()) as running:
        yield running


def prompts(world: World) -> str:
    return world.add_prompts(example_prompts(train=0, held_out=HELD_OUT))


def start(world: World, measured: str, baseline: str, **recipe: Any) -> str:
    measure = {"measured": measured, "baseline": baseline}
    return world.add_run({"measure": measure, "sample": SAMPLE, **recipe}, prompts(world))


def measured(world: World, run_id: str) -> tuple[Evaluation, EvaluationMetrics]:
    (row,) = world.rows(Evaluation, run_id)
    return row, EvaluationMetrics.model_validate(row.metrics)


def done(world: World, run_id: str) -> Run:
    run = world.drive(run_id)
    assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
    return run


class TestEndpoint:
    def test_answers_are_compared_with_the_models(self, world: World, writer: RunningJudge) -> None:
        endpoint = world.add_judge(writer.spec())
        run_id = start(world, endpoint, world.model)
        done(world, run_id)
        row, metrics = measured(world, run_id)
        assert (row.checkpoint_id, row.measured_id) == (None, endpoint)
        assert metrics.win_rate.n_prompts == HELD_OUT
        assert metrics.control is not None
        assert metrics.divergence is None
        answers = world.rows(Completion, run_id, source=CompletionSource.POLICY)
        assert len(answers) == HELD_OUT == len(writer.judge.calls)
        assert all(answer.text.startswith("Thank you") for answer in answers)

    def test_is_asked_as_the_recipe_says_and_paid_for(self, world: World, writer: RunningJudge) -> None:
        run_id = start(world, world.add_judge(writer.spec()), world.model)
        done(world, run_id)
        body = writer.judge.bodies[-1]
        assert (body["temperature"], body["max_tokens"]) == (1.0, SAMPLE["max_new_tokens"])
        assert [turn["role"] for turn in body["messages"]] == ["user"]
        assert "logprobs" not in body
        stage = world.stage(run_id, StageKind.EVALUATE)
        assert stage.judge_calls >= HELD_OUT
        assert float(stage.judge_usd) == pytest.approx(HELD_OUT * 0.01)

    def test_answers_are_counted_by_the_models_tokenizer(self, world: World, writer: RunningJudge) -> None:
        run_id = start(world, world.add_judge(writer.spec()), world.model)
        done(world, run_id)
        for answer in world.rows(Completion, run_id, source=CompletionSource.POLICY):
            assert answer.tokens is not None
            assert 5 < answer.tokens < len(answer.text)

    def test_may_be_the_baseline(self, world: World, writer: RunningJudge) -> None:
        run_id = start(world, world.model, world.add_judge(writer.spec()))
        done(world, run_id)
        base = world.rows(Completion, run_id, source=CompletionSource.BASE)
        assert len(base) == 2 * HELD_OUT == len(writer.judge.calls)
        assert measured(world, run_id)[0].measured_id == world.model

    def test_two_endpoints_are_compared_by_characters(self, world: World, writer: RunningJudge) -> None:
        one, other = world.add_judge(writer.spec()), world.add_judge(writer.spec(model="other"))
        run_id = start(world, one, other)
        done(world, run_id)
        assert {row.tokens for row in world.rows(Completion, run_id)} == {None}

    def test_a_cut_answer_is_marked(self, world: World) -> None:
        judge = Writer()
        judge.cuts = True
        with RunningJudge(judge) as running:
            run_id = start(world, world.add_judge(running.spec()), world.model)
            done(world, run_id)
        assert {row.finish_reason for row in world.rows(Completion, run_id, source=CompletionSource.POLICY)} == {
            "length"
        }

    def test_what_is_unanswered_is_missing_and_too_much_of_it_ends_the_run(
        self, world: World, writer: RunningJudge
    ) -> None:
        writer.judge.script.faults.extend(["500"])
        run_id = start(world, world.add_judge(writer.spec()), world.model, evaluate={"minimum_coverage": 0.9})
        run = world.drive(run_id)
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert (run.error["code"], "minimum_coverage" in run.error["detail"]) == ("unanswered", True)

    def test_a_little_missing_is_counted(self, world: World, writer: RunningJudge) -> None:
        writer.judge.script.faults.extend(["500"])
        run_id = start(world, world.add_judge(writer.spec()), world.model, evaluate={"minimum_coverage": 0.5})
        done(world, run_id)
        assert measured(world, run_id)[1].win_rate.n_prompts == HELD_OUT - 1
        assert world.stage(run_id, StageKind.EVALUATE).metrics["unanswered"] == 1

    def test_killed_anywhere_it_asks_for_nothing_that_is_stored(self, world: World, writer: RunningJudge) -> None:
        run_id = start(world, world.add_judge(writer.spec(max_concurrency=1)), world.model)
        kills = world.drive_killed(run_id)
        assert kills > 0
        assert world.get(Run, run_id).status is RunStatus.SUCCEEDED
        answers = world.rows(Completion, run_id, source=CompletionSource.POLICY)
        assert len({(row.prompt_id, row.position) for row in answers}) == len(answers) == HELD_OUT

    def test_the_budget_pauses_it(self, world: World, writer: RunningJudge) -> None:
        spec = writer.spec(max_concurrency=1)
        run_id = start(world, world.add_judge(spec), world.model, budget={"judge_usd": 0.025})
        run = world.drive(run_id)
        assert run.status is RunStatus.PAUSED
        assert len(writer.judge.calls) <= 4


class TestModels:
    def test_a_model_against_itself_wins_half(self, world: World) -> None:
        run_id = start(world, world.model, world.model)
        done(world, run_id)
        metrics = measured(world, run_id)[1]
        assert metrics.win_rate.low <= 0.5 <= metrics.win_rate.high
        assert metrics.divergence is not None
        assert metrics.divergence.kl is not None
        assert abs(metrics.divergence.kl.value) < 1e-3
        assert metrics.circular is False

    def test_a_model_that_judges_its_own_answers_is_circular(self, world: World, writer: RunningJudge) -> None:
        with RunningJudge() as judging:
            measure = {"measured": world.add_judge(writer.spec()), "baseline": world.model}
            itself = world.add_judge(judging.spec())  # one model at one host, whatever the port
            run_id = world.add_run({"measure": measure, "sample": SAMPLE}, prompts(world), evaluation_judge=itself)
            done(world, run_id)
        assert measured(world, run_id)[1].circular is True

    def test_only_what_is_measured_is_sampled(self, world: World) -> None:
        run_id = start(world, world.model, world.model)
        done(world, run_id)
        kinds = [stage.kind for stage in world.rows(Stage, run_id)]
        assert kinds == [StageKind.SAMPLE, StageKind.EVALUATE]
        assert {row.split.value for row in world.rows(Completion, run_id)} == {"held_out"}


def test_the_report_names_both_and_can_be_asked_for_again(world: World, writer: RunningJudge) -> None:
    endpoint = world.add_judge(writer.spec())
    run_id = start(world, endpoint, world.model)
    done(world, run_id)
    with world.sessions.begin() as session:
        session.get_one(Run, run_id).kind = RunKind.EVALUATION
    with world.sessions() as session:
        report = reports.get(session, world.project, run_id)
    assert (report.run.measured, report.run.baseline) == (endpoint, "example")
    assert "'example'" in report.headline.sentence
    body = json.loads(shlex.split(report.reproduce[0])[-2])
    assert MeasureIn.model_validate(body).measured == endpoint
    assert report.reproduce[0].endswith('"$RLAIF_URL/v1/evaluations"')
