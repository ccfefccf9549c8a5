"""Panels and cascades in a run: who is asked what, how it becomes one preference, and what nobody decides."""

from __future__ import annotations

from collections import Counter

import pytest

from app.db.models import Comparison, Judge, Preference, RunStatus, Verdict
from app.rlaif.evidence import JudgeMetrics
from app.rlaif.recipe import StageKind
from tests.integration.stages.labelled import add_composite, labelled_prompts, word_judge
from tests.integration.stages.test_calibrate import calibrated, start
from tests.integration.stages.world import World

PROMPTS = 60
RECIPE = {
    "sample": {"source": "prompt_set", "prompts_per_shard": 25},
    "judge": {"prompts_per_shard": 25},
    "prefer": {"max_length": 256},
    "stop_after": "prefer",
}


@pytest.fixture(scope="module")
def labels(world: World) -> str:
    return world.add_prompts(labelled_prompts(PROMPTS))


@pytest.fixture(scope="module")
def members(world: World) -> tuple[str, str]:
    """A judge that is wrong three times in ten, and one that never is."""
    return word_judge(world, "weak", family="beta"), word_judge(world, "sound", family="alpha")


def asked(world: World, run_id: str) -> Counter[str]:
    """How many verdicts each judge gave."""
    return Counter(verdict.judge_id for verdict in world.rows(Verdict, run_id))


class TestPanel:
    def test_every_member_is_asked_everything(self, world: World, labels: str, members: tuple[str, str]) -> None:
        panel = add_composite(world, {"kind": "panel", "members": list(members)})
        run = world.drive(world.add_run(RECIPE, labels, judge=panel))
        assert run.status is RunStatus.SUCCEEDED, run.error
        assert asked(world, run.id) == dict.fromkeys(members, 2 * PROMPTS)
        metrics = world.stage(run.id, StageKind.JUDGE).metrics
        assert JudgeMetrics.model_validate({k: metrics[k] for k in JudgeMetrics.model_fields}).verdicts == 4 * PROMPTS
        assert set(metrics["members"]) == set(members)

    def test_equal_votes_where_no_calibration_says_more(
        self, world: World, labels: str, members: tuple[str, str]
    ) -> None:
        panel = add_composite(world, {"kind": "panel", "members": list(members)})
        run = world.drive(world.add_run(RECIPE, labels, judge=panel))
        split = [row for row in world.rows(Preference, run.id) if row.probability == pytest.approx(0.5)]
        assert len(split) > PROMPTS * 0.2  # where the weak one is wrong, two votes cancel

    def test_a_calibration_s_weights_make_the_preferences(
        self, world: World, labels: str, members: tuple[str, str]
    ) -> None:
        panel = add_composite(world, {"kind": "panel", "members": list(members)})
        calibration = start(world, panel, labels)
        world.drive(calibration.run_id)
        judge = {**RECIPE["judge"], "calibration": calibration.id}  # type: ignore[dict-item]
        run = world.drive(world.add_run({**RECIPE, "judge": judge}, labels, judge=panel))
        assert run.status is RunStatus.SUCCEEDED, run.error
        assert {row.provenance["calibration"] for row in world.rows(Preference, run.id)} == {calibration.id}
        margins = [abs(2 * (row.probability or 0.5) - 1) for row in world.rows(Preference, run.id)]
        assert min(margins) > 0.3  # the sound judge outweighs the weak one wherever they disagree


class TestCascade:
    @pytest.fixture
    def cascade(self, world: World, labels: str, members: tuple[str, str]) -> str:
        """Calibrated at a risk that the weak judge cannot keep and the sound one can."""
        return self._calibrated(world, labels, list(members), risk=0.15)

    def test_a_calibration_asks_every_step_everything(
        self, world: World, labels: str, members: tuple[str, str]
    ) -> None:
        spec = {"kind": "cascade", "steps": list(members), "maximum_risk": 0.15}
        calibration = start(world, add_composite(world, spec), labels)
        world.drive(calibration.run_id)
        assert asked(world, calibration.run_id) == dict.fromkeys(members, 2 * PROMPTS)

    def test_the_strong_judge_is_asked_about_what_the_cheap_one_leaves(
        self, world: World, labels: str, members: tuple[str, str]
    ) -> None:
        cascade = self._calibrated(world, labels, list(members[::-1]), risk=0.15)  # the sound one first
        run = world.drive(world.add_run(RECIPE, labels, judge=cascade))
        assert run.status is RunStatus.SUCCEEDED, run.error
        assert asked(world, run.id) == {members[1]: 2 * PROMPTS}  # nothing is left to ask the weak one

    def test_a_cheap_judge_that_is_never_sure_passes_all_on(
        self, world: World, labels: str, cascade: str, members: tuple[str, str]
    ) -> None:
        run = world.drive(world.add_run(RECIPE, labels, judge=cascade))
        assert asked(world, run.id) == dict.fromkeys(members, 2 * PROMPTS)
        assert {row.drop_reason for row in world.rows(Preference, run.id)} == {None}

    @pytest.mark.parametrize(("then", "reason"), [("people", "awaits_people"), ("drop", "undecided"), ("keep", None)])
    def test_what_nobody_decides(
        self, world: World, labels: str, members: tuple[str, str], then: str, reason: str | None
    ) -> None:
        cascade = self._calibrated(world, labels, [members[0]], risk=0.15, then=then)
        run = world.drive(world.add_run(RECIPE, labels, judge=cascade))
        rows = world.rows(Preference, run.id)
        assert {row.drop_reason for row in rows} == {reason}
        assert {row.probability is None for row in rows} == {then != "keep"}
        if reason is not None:
            assert run.status is RunStatus.FAILED
            assert run.error is not None
            assert "maximum_risk" in run.error["detail"]

    def test_a_kill_anywhere_asks_nobody_twice(self, world: World, labels: str, cascade: str) -> None:
        calm = world.drive(world.add_run(RECIPE, labels, judge=cascade))
        killed = world.add_run(RECIPE, labels, judge=cascade)
        assert world.drive_killed(killed) > 5
        assert asked(world, killed) == asked(world, calm.id)
        assert world.preferences(killed) == world.preferences(calm.id)

    @staticmethod
    def _calibrated(world: World, labels: str, steps: list[str], *, risk: float, then: str = "people") -> str:
        """A cascade that names its own calibration."""
        spec = {"kind": "cascade", "steps": steps, "maximum_risk": risk, "then": then}
        calibration = start(world, add_composite(world, spec), labels)
        assert world.drive(calibration.run_id).status is RunStatus.SUCCEEDED
        return add_composite(world, {**spec, "calibration": calibration.id})


def test_comparisons_are_the_labelled_ones_alone(world: World, members: tuple[str, str]) -> None:
    """Of three candidates two are labelled: one comparison, not three."""
    prompts = [
        {**prompt, "candidates": [*prompt["candidates"], "A third."], "authors": []} for prompt in labelled_prompts(12)
    ]
    calibration = start(world, members[1], world.add_prompts(prompts))
    world.drive(calibration.run_id)
    assert len(world.rows(Comparison, calibration.run_id)) == 12


def test_families(world: World, members: tuple[str, str]) -> None:
    panel = add_composite(world, {"kind": "panel", "members": list(members)})
    assert world.get(Judge, panel).family == "alpha+beta"
    assert calibrated(world, panel, world.add_prompts(labelled_prompts(20))).judge_family == "alpha+beta"
