"""Alarms of a training as a run has them: an event each, once whatever is killed, a caveat of its report, its end."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from app.db.models import Checkpoint, Event, Run, RunStatus
from app.rlaif.health import Alarm, AlarmKind
from app.rlaif.recipe import StageKind
from app.services import reports
from app.services.engine import EventType
from tests.integration.stages.endpoint import RunningJudge
from tests.integration.stages.test_chain import RECIPE
from tests.integration.stages.world import World, example_prompts
from workers.stages.contract import LeaseLost

TRAIN, HELD_OUT, STEPS = 8, 6, 8
EASILY_ALARMED = {"window": 2, "kl_per_token": 1e-9, "length_ratio": None, "shared_ngrams": None, "judge_every": 0}
WANDERING: dict[str, Any] = {
    "method": "grpo",
    "learning_rate": 1e-3,
    "beta": 0.0,
    "reward": {"reward_model": 0.0, "judge": 1.0},
    "steps": STEPS,
    "prompts_per_step": 4,
    "completions": 2,
    "max_new_tokens": 24,
    "max_length": 256,
    "save_steps": 1,
}
BEFORE = (StageKind.SAMPLE, StageKind.JUDGE, StageKind.PREFER, StageKind.REWARD_MODEL)


@pytest.fixture(scope="module")
def rewarded(world: World) -> Run:
    """A run that has a reward model, and no policy yet."""
    prompts = world.add_prompts(example_prompts(train=TRAIN, held_out=HELD_OUT))
    return world.drive(world.add_run(RECIPE | {"stop_after": "reward_model"}, prompts))


def start(world: World, before: Run, *, evaluation_judge: str | None = None, **health: Any) -> str:
    recipe = RECIPE | {"stop_after": "policy", "policy": WANDERING | {"health": EASILY_ALARMED | health}}
    return world.add_run(
        recipe,
        before.prompt_set_id,
        evaluation_judge=evaluation_judge,
        reuse=dict.fromkeys(BEFORE, before.id),
    )


def alarms(world: World, run: Run) -> list[dict[str, Any]]:
    return [event.data for event in world.rows(Event, run.id, type=EventType.HEALTH_ALARM)]


class TestWarning:
    def test_is_an_event_a_figure_of_the_stage_and_a_caveat(self, world: World, rewarded: Run) -> None:
        run = world.drive(start(world, rewarded))
        assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
        (found,) = alarms(world, run)
        assert (found["alarm"], found["stage"], found["round"]) == ("kl_exploding", "policy", 0)
        assert 4 <= found["step"] <= STEPS
        assert found["figures"]["kl_per_token"] > found["limit"]
        assert "raise beta" in found["remedy"]
        assert world.stage(run.id, StageKind.POLICY).metrics["alarms"] == [found]
        with world.sessions() as session:
            codes = [caveat.code for caveat in reports.get(session, world.project, run.id).caveats]
        assert "kl_exploding" in codes

    def test_is_written_once_whatever_is_killed(self, world: World, rewarded: Run) -> None:
        run_id = start(world, rewarded)
        assert world.drive_killed(run_id) >= 2, "before and after the alarm's commit"
        run = world.get(Run, run_id)
        assert run.status is RunStatus.SUCCEEDED
        assert Counter(found["alarm"] for found in alarms(world, run)) == {"kl_exploding": 1}

    def test_a_stale_holder_writes_none(self, world: World, rewarded: Run) -> None:
        run_id = start(world, rewarded)
        shard_id = world.next_shard(run_id)
        assert shard_id is not None
        work = world.claim(shard_id)
        world.release(work)
        alarm = Alarm(kind=AlarmKind.COLLAPSE, step=1, limit=None, figures={})
        with pytest.raises(LeaseLost):
            world.context(work).progress.alarm(alarm)
        assert alarms(world, world.get(Run, run_id)) == []


class TestStopping:
    def test_ends_the_run_before_anything_is_published(self, world: World, rewarded: Run) -> None:
        run = world.drive(start(world, rewarded, on={"kl_exploding": "stop"}))
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error["code"] == "health_alarm"
        (found,) = alarms(world, run)
        assert run.error["detail"].startswith(f"kl_exploding at step {found['step']}: ")
        assert found["remedy"] in run.error["detail"]
        assert world.rows(Checkpoint, run.id) == []
        types = [event.type for event in world.rows(Event, run.id)]
        assert types.index(EventType.HEALTH_ALARM) < types.index(EventType.RUN_FAILED)


class TestLooks:
    def test_a_program_looks_by_itself(self, world: World, rewarded: Run) -> None:
        metrics = world.stage(world.drive(start(world, rewarded, judge_every=None)).id, StageKind.POLICY).metrics
        assert -1 <= metrics["held_out_judge"] <= 1
        assert metrics["held_out_judge_error"] >= 0

    def test_a_model_is_asked_where_it_is_told_to_and_paid(self, world: World, rewarded: Run) -> None:
        with RunningJudge() as endpoint:
            judge = world.add_judge(endpoint.spec(model="looks"))
            run = world.drive(start(world, rewarded, evaluation_judge=judge, judge_every=4, judge_prompts=4))
            stage = world.stage(run.id, StageKind.POLICY)
            unasked = world.drive(start(world, rewarded, evaluation_judge=judge, judge_every=None))
        assert run.status is RunStatus.SUCCEEDED
        assert 4 * 2 <= stage.judge_calls <= 3 * 4 * 2, "at first, at step 4 and at step 8, in both presentations"
        assert stage.judge_usd > 0
        assert world.stage(unasked.id, StageKind.POLICY).judge_calls == 0
