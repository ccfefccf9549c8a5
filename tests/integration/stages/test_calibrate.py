"""Calibrations over real rows: judges are asked about labelled candidates, measured on the labels, fitted to them."""

from __future__ import annotations

from typing import Any

import pytest

from app.db.models import Calibration, Comparison, Judge, PromptSet, RubricRevision, RunKind, RunStatus, Verdict
from app.db.session import WriteSession
from app.rlaif.calibration_evidence import CalibrationReport
from app.rlaif.instruments import Calibrated, Cascade, WeightedPanel, read
from app.rlaif.recipe import Recipe
from app.services import calibrations
from tests.integration.stages.labelled import add_composite, labelled_prompts, word_judge
from tests.integration.stages.world import World

PROMPTS = 60


def recipe(**calibrate: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "stop_after": "calibrate",
            "sample": {"source": "prompt_set", "prompts_per_shard": 25},
            "judge": {"pairs": "labelled", "minimum_coverage": 0.0, "prompts_per_shard": 25},
            "calibrate": {"bootstrap_samples": 200, **calibrate},
        }
    )


def start(world: World, judge: str, prompt_set: str, **calibrate: Any) -> Calibration:
    with world.sessions.begin() as session:
        return calibrations.start(
            WriteSession(session),
            world.project,
            name="calibration",
            judge=session.get_one(Judge, judge),
            rubric=session.get_one(RubricRevision, world.rubric),
            prompt_set=session.get_one(PromptSet, prompt_set),
            recipe=recipe(**calibrate),
        )


def calibrated(world: World, judge: str, prompt_set: str, **calibrate: Any) -> CalibrationReport:
    calibration = start(world, judge, prompt_set, **calibrate)
    run = world.drive(calibration.run_id)
    assert run.status is RunStatus.SUCCEEDED, run.error
    return CalibrationReport.model_validate(world.get(Calibration, calibration.id).report)


@pytest.fixture(scope="module")
def labels(world: World) -> str:
    return world.add_prompts(labelled_prompts(PROMPTS))


@pytest.fixture(scope="module")
def sound(world: World) -> str:
    return word_judge(world, "sound", family="alpha")


@pytest.fixture(scope="module")
def weak(world: World) -> str:
    return word_judge(world, "weak", family="beta")


class TestOneJudge:
    def test_it_is_measured_on_what_people_decided(self, world: World, labels: str, sound: str) -> None:
        report = calibrated(world, sound, labels)
        assert report.instrument.accuracy is not None
        assert (report.instrument.accuracy.value, report.instrument.accuracy.n) == (1.0, PROMPTS * 9 // 10)
        assert report.labels.model_dump(include={"comparisons", "ties", "unsettled", "several"}) == {
            "comparisons": PROMPTS,
            "ties": PROMPTS // 10,
            "unsettled": 0,
            "several": PROMPTS,
        }
        assert report.labels.alpha is not None
        assert report.labels.alpha.value == 1.0
        assert report.gain_over_longer is not None
        assert report.gain_over_longer.low > 0
        assert isinstance(read(report.fitted), Calibrated)

    def test_it_is_a_run_without_a_model(self, world: World, labels: str, sound: str) -> None:
        calibration = start(world, sound, labels)
        run = world.drive(calibration.run_id)
        assert (run.kind, run.base_model_id, run.status) == (RunKind.CALIBRATION, None, RunStatus.SUCCEEDED)
        assert len(world.rows(Comparison, run.id)) == PROMPTS
        assert len(world.rows(Verdict, run.id)) == 2 * PROMPTS

    def test_the_same_labels_and_answers_give_the_same_report(self, world: World, labels: str, weak: str) -> None:
        own = {"run_id", "measured_at"}
        one, other = (calibrated(world, weak, labels).model_dump(exclude=own) for _ in range(2))
        assert one == other

    def test_a_limit_takes_the_first_prompts(self, world: World, labels: str, sound: str) -> None:
        assert calibrated(world, sound, labels, limit=20).labels.prompts == 20

    def test_what_divides_people_is_left_out_and_counted(self, world: World, sound: str) -> None:
        divided = [
            prompt | {"id": f"divided-{number}"}
            for number, prompt in enumerate(labelled_prompts(5, split="held_out", agreed=False))
        ]
        report = calibrated(world, sound, world.add_prompts([*labelled_prompts(20), *divided]))
        assert (report.labels.comparisons, report.labels.unsettled) == (20, 5)
        assert report.labels.alpha is not None
        assert report.labels.alpha.value < 1

    def test_a_judge_of_a_known_author_is_looked_at_for_favour(self, world: World, labels: str, weak: str) -> None:
        figures = calibrated(world, weak, labels).judges[0]
        assert figures.self_preference is not None
        assert figures.length_bias is not None
        assert figures.position_consistency is not None
        assert figures.position_consistency.value == 1.0


class TestPanel:
    def test_the_sound_member_gets_the_weight(self, world: World, labels: str, sound: str, weak: str) -> None:
        panel = add_composite(world, {"kind": "panel", "members": [weak, sound]})
        report = calibrated(world, panel, labels)
        assert report.panel is not None
        assert report.panel.best_judge == sound
        assert report.panel.weights[sound] > report.panel.weights[weak]
        assert [judge.judge_id for judge in report.judges] == [weak, sound]
        assert isinstance(read(report.fitted), WeightedPanel)
        assert report.instrument.accuracy is not None
        assert report.instrument.accuracy.value > 0.95


class TestCascade:
    def test_thresholds_keep_the_stated_risk(self, world: World, labels: str, sound: str, weak: str) -> None:
        spec = {"kind": "cascade", "steps": [weak, sound], "maximum_risk": 0.15, "then": "people"}
        report = calibrated(world, add_composite(world, spec), labels)
        assert report.cascade is not None
        cheap, strong = report.cascade.steps
        assert cheap.threshold is None  # three in ten wrong
        assert strong.threshold is not None
        assert strong.risk_bound is not None
        assert strong.risk_bound <= 0.15
        assert isinstance(read(report.fitted), Cascade)


class TestRefusals:
    def test_a_judge_that_answers_nothing_is_named(self, world: World, labels: str) -> None:
        silent = word_judge(world, "nobody says this", family="gamma")
        calibration = start(world, silent, labels)
        assert world.drive(calibration.run_id).status is RunStatus.SUCCEEDED  # ties are answers

    def test_too_few_labels_fail_the_run_and_say_so(self, world: World, sound: str) -> None:
        run = world.drive(start(world, sound, world.add_prompts(labelled_prompts(1))).run_id)
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error["code"] == "too_few_labels"
        assert "label more" in run.error["detail"]

    def test_unlabelled_candidates_are_refused_before_anything_is_asked(self, world: World, sound: str) -> None:
        bare = [{**prompt, "annotations": []} for prompt in labelled_prompts(3)]
        with pytest.raises(calibrations.NothingLabelled, match="annotations"):
            start(world, sound, world.add_prompts(bare))


def test_a_kill_anywhere_gives_the_same_report(world: World, labels: str, weak: str) -> None:
    calm = calibrated(world, weak, labels)
    calibration = start(world, weak, labels)
    assert world.drive_killed(calibration.run_id) > 5
    killed = CalibrationReport.model_validate(world.get(Calibration, calibration.id).report)
    own = {"run_id", "measured_at"}
    assert killed.model_dump(exclude=own) == calm.model_dump(exclude=own)
