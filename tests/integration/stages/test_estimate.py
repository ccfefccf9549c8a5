"""What was estimated is what the run then does: every way of judging, and the evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from sqlalchemy import func, select

from app.db.models import Judge, Run, Score, Stage, Verdict
from app.db.session import WriteSession
from app.rlaif.estimate import Estimate, JudgeEstimate, Span
from app.rlaif.recipe import StageKind
from app.schemas.run import RunIn
from app.services import estimates
from tests.integration.stages.endpoint import USD_PER_MILLION, RunningJudge
from tests.integration.stages.test_chain import HELD_OUT, TRAIN
from tests.integration.stages.test_chain import RECIPE as CHAIN
from tests.integration.stages.test_judging import RECIPE, prompts_with
from tests.integration.stages.world import World, example_prompts

TEXTS = tuple(f"It is so, {'and ' * number}so." for number in range(10))
WHOLE = CHAIN | {"evaluate": {"bootstrap_samples": 200}}
JUDGED = RECIPE | {"stop_after": "judge"}
MODES: dict[str, dict[str, Any]] = {
    "pairwise": {},
    "chain": {"pairs": "chain"},
    "labelled": {"pairs": "labelled"},
    "repeats": {"repeats": 3, "pairs": "chain"},
    "per_criterion": {"mode": "per_criterion", "pairs": "chain"},
    "listwise": {"mode": "listwise"},
    "pointwise": {"mode": "pointwise", "repeats": 2},
    "pointwise of labelled": {"mode": "pointwise", "pairs": "labelled"},
}


@pytest.fixture
def endpoint() -> Iterator[RunningJudge]:
    with RunningJudge() as running:
        yield running


def estimated(
    world: World, recipe: dict[str, Any], prompt_set: str, judge: str, *, evaluation_judge: str | None = None
) -> Estimate:
    request = RunIn(
        name="estimated",
        rubric=world.rubric,
        prompt_set=prompt_set,
        base_model=world.model,
        judge=judge,
        evaluation_judge=evaluation_judge or world.evaluation_judge,
        recipe=recipe,
    )
    with world.sessions() as session:
        found = estimates.get(WriteSession(session), world.project, request, published=None, settings=world.settings)
        session.rollback()
    return found


def prompts(world: World) -> str:
    """Some with equal candidates, one with a single text, one with criteria of its own, one held out; labels on all."""
    labels = {"preferences": [{"first": 0, "second": 1, "probability": 1.0}]}
    rows = prompts_with(*TEXTS[:3], count=2, **labels)
    rows += [rows[0] | {"id": "equal", "candidates": [TEXTS[0], TEXTS[0], TEXTS[1], TEXTS[2]]}]
    rows += [rows[0] | {"id": "one text", "candidates": [TEXTS[0], TEXTS[0]]}]
    rows += [rows[0] | {"id": "many", "candidates": list(TEXTS), "split": "held_out"}]
    rows += [rows[0] | {"id": "own", "criteria": [{"name": "own", "description": "Of its own."}]}]
    return world.add_prompts(rows)


@pytest.mark.parametrize("judge", MODES.values(), ids=MODES.keys())
def test_calls_and_answers_of_every_mode(world: World, endpoint: RunningJudge, judge: dict[str, Any]) -> None:
    recipe = JUDGED | {"judge": RECIPE["judge"] | judge | {"cache": False, "minimum_coverage": 0.0}}
    prompt_set, judge_id = prompts(world), world.add_judge(endpoint.spec())
    found = estimated(world, recipe, prompt_set, judge_id)
    run_id = world.add_run(recipe, prompt_set, judge=judge_id)
    assert world.drive(run_id).error is None
    (judging,) = next(stage for stage in found.stages if stage.stage is StageKind.JUDGE).judges
    table = Score if judge.get("mode") == "pointwise" else Verdict
    assert judging.answers == len(world.rows(table, run_id)) > 0
    assert judging.calls == len(endpoint.judge.calls)
    assert len(endpoint.judge.bodies) == min(judging.calls, 100)
    if judging.calls <= 100:
        messages = [message for body in endpoint.judge.bodies for message in body["messages"]]
        tokens = sum(len(message["content"]) for message in messages) / 4
        assert judging.prompt_tokens.expected == pytest.approx(tokens, rel=0.1)
        assert judging.usd is not None
        assert judging.usd.expected == pytest.approx(tokens * USD_PER_MILLION / 1e6, rel=0.1)


def test_every_member_of_a_panel_is_asked_everything(world: World, endpoint: RunningJudge) -> None:
    members = [world.add_judge(endpoint.spec(model=model)) for model in ("one", "two")]
    panel = world.add_judge({"kind": "panel", "family": "scripted", "members": members})
    with world.sessions.begin() as session:
        row = session.get_one(Judge, panel)
        row.spec = {"kind": "panel", "members": members}
    prompt_set = prompts(world)
    found = estimated(world, JUDGED, prompt_set, panel)
    run_id = world.add_run(JUDGED, prompt_set, judge=panel)
    assert world.drive(run_id).error is None
    judging = next(stage for stage in found.stages if stage.stage is StageKind.JUDGE).judges
    assert {judge.judge_id: judge.answers for judge in judging} == {
        id_: len(world.rows(Verdict, run_id, judge_id=id_)) for id_ in members
    }


def test_sampling_and_evaluation_are_at_most_what_is_estimated(world: World) -> None:
    prompt_set = world.add_prompts(example_prompts(train=TRAIN, held_out=HELD_OUT))
    before = estimated(world, WHOLE, prompt_set, world.judge)
    run_id = world.add_run(WHOLE, prompt_set)
    assert world.drive(run_id).error is None
    stages = {stage.stage: stage for stage in before.stages}
    assert stages[StageKind.SAMPLE].units == TRAIN * 3 + HELD_OUT * 2
    verdicts = len(world.rows(Verdict, run_id, judge_id=world.evaluation_judge))
    (evaluating,) = stages[StageKind.EVALUATE].judges
    assert 0 < verdicts <= evaluating.answers == HELD_OUT * 2 * 2
    assert before.seconds is None
    assert before.usd is not None
    assert before.usd.high == 0

    with world.sessions.begin() as session:
        for stage in session.scalars(select(Stage).where(Stage.run_id == run_id)):
            stage.compute_seconds = 60.0
    after = estimated(world, WHOLE, prompt_set, world.judge)
    known = {stage.stage: stage.seconds.expected for stage in after.stages if stage.seconds}
    assert known[StageKind.SAMPLE] == known[StageKind.POLICY] == 60.0
    assert run_id in after.stages[0].notes[0]

    sweep = WHOLE | {"sweep": {"policy": {"beta": [0.1, 0.2, 0.3]}}}
    swept = {stage.stage: stage for stage in estimated(world, sweep, prompt_set, world.judge).stages}
    assert swept[StageKind.POLICY].seconds == Span(low=90.0, expected=180.0, high=360.0)
    assert swept[StageKind.EVALUATE].units == HELD_OUT * 3
    assert swept[StageKind.EVALUATE].judges[0].answers == HELD_OUT * 2 * (3 + 1)  # the control is asked once
    assert swept[StageKind.SAMPLE].units == stages[StageKind.SAMPLE].units


def test_a_judge_that_rewards_answers_is_part_of_it(world: World, endpoint: RunningJudge) -> None:
    online = {"method": "grpo", "steps": 4, "prompts_per_step": 5, "completions": 2, "max_new_tokens": 24}
    policy = online | {"max_length": 256, "reward": {"reward_model": 0.0, "judge": 1.0}}
    recipe = CHAIN | {"stop_after": "policy", "policy": policy, "judge": {"cache": False, "pairs": "chain"}}
    prompt_set, judge_id = world.add_prompts(example_prompts(train=12, held_out=0)), world.add_judge(endpoint.spec())
    found = next(
        stage for stage in estimated(world, recipe, prompt_set, judge_id).stages if stage.stage is StageKind.POLICY
    )
    run_id = world.add_run(recipe, prompt_set, judge=judge_id)
    assert world.drive(run_id).error is None
    assert found.judges[0].calls == (12 + 5) * 2 * 2  # three steps are an epoch, the fourth begins another
    assert found.judges[0].answers == 0
    spent = world.stage(run_id, StageKind.POLICY)
    assert spent.judge_calls in (found.judges[0].calls, (12 + 2) * 2 * 2)  # where the epoch begins with its short step
    assert found.judges[0].usd is not None
    assert float(spent.judge_usd) <= found.judges[0].usd.high


def test_a_judge_that_looks_at_a_policy_in_training_is_part_of_it(world: World, endpoint: RunningJudge) -> None:
    online = {"method": "grpo", "steps": 10, "max_new_tokens": 24, "max_length": 256}
    prompt_set, judge = world.add_prompts(example_prompts(train=6, held_out=5)), world.add_judge(endpoint.spec())

    def looks(**health: Any) -> list[JudgeEstimate]:
        recipe = CHAIN | {"stop_after": "policy", "policy": online | {"health": health}}
        stages = estimated(world, recipe, prompt_set, world.judge, evaluation_judge=judge).stages
        return next(stage.judges for stage in stages if stage.stage is StageKind.POLICY)

    (found,) = looks(judge_every=4, judge_prompts=3)
    assert found.calls == (1 + 3) * 3 * 2  # at first, after steps 4, 8 and 10; three prompts, both presentations
    assert found.usd is not None
    assert found.usd.expected > 0
    assert looks() == [], "a model is asked where it is told to"


class TestOnlineTime:
    """By the policy's own answers: prompts and epochs say nothing of it."""

    ONLINE: ClassVar[dict[str, Any]] = {
        "method": "grpo",
        "steps": 2,
        "prompts_per_step": 4,
        "completions": 2,
        "max_new_tokens": 16,
        "max_length": 256,
        "reward": {"reward_model": 0.0, "judge": 1.0},
    }

    @pytest.fixture
    def recipe(self, world: World) -> dict[str, Any]:
        return CHAIN | {"stop_after": "policy", "policy": self.ONLINE, "judge": {"pairs": "chain"}}

    def seconds(self, world: World, recipe: dict[str, Any], prompts: str, judge: str) -> float | None:
        stages = {stage.stage: stage for stage in estimated(world, recipe, prompts, judge).stages}
        span = stages[StageKind.POLICY].seconds
        return None if span is None else span.expected

    def test_grows_with_steps_and_answers(self, world: World, recipe: dict[str, Any]) -> None:
        prompt_set = world.add_prompts(example_prompts(train=8, held_out=0))
        run_id = world.add_run(recipe, prompt_set)
        assert world.drive(run_id).error is None
        with world.sessions.begin() as session:
            query = select(Stage).where(Stage.run_id == run_id, Stage.kind == StageKind.POLICY)
            session.scalars(query).one().compute_seconds = 60.0

        assert self.seconds(world, recipe, prompt_set, world.judge) == 60.0
        for changes in ({"steps": 4}, {"prompts_per_step": 8}, {"completions": 4}):
            changed = recipe | {"policy": self.ONLINE | changes}
            assert self.seconds(world, changed, prompt_set, world.judge) == 120.0
        more = world.add_prompts(example_prompts(train=16, held_out=0))
        assert self.seconds(world, recipe, more, world.judge) == 60.0
        offline = recipe | {"policy": CHAIN["policy"]}
        assert self.seconds(world, offline, prompt_set, world.judge) is None  # DPO's pace is another

    def test_what_waits_for_a_judge_is_counted_once(
        self, world: World, recipe: dict[str, Any], endpoint: RunningJudge
    ) -> None:
        """It comes on top of the pace of a run without such a judge, and is in the pace of one with it."""
        prompt_set, judge = world.add_prompts(example_prompts(train=8, held_out=0)), world.add_judge(endpoint.spec())
        by_model = recipe | {"policy": self.ONLINE | {"reward": {"reward_model": 1.0, "judge": 0.0}}}
        for past, expected in ((by_model, False), (recipe, True)):
            run_id = world.add_run(past, prompt_set, judge=judge)
            assert world.drive(run_id).error is None
            with world.sessions.begin() as session:
                query = select(Stage).where(Stage.run_id == run_id, Stage.kind == StageKind.POLICY)
                session.scalars(query).one().compute_seconds = 60.0
            found = self.seconds(world, recipe, prompt_set, judge)
            assert found is not None
            assert (found == 60.0) == expected
            assert found >= 60.0


def test_nothing_is_stored(world: World, endpoint: RunningJudge) -> None:
    prompt_set, judge = prompts(world), world.add_judge(endpoint.spec())
    with world.sessions() as session:
        before = session.scalar(select(func.count()).select_from(Run))
    estimated(world, RECIPE, prompt_set, judge)
    with world.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Run)) == before
