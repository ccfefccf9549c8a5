"""Canaries over real rows: due once, whoever looks; and a judge that changed behind its name is found."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select, text

from app.db.models import Calibration, Canary, Judge, RunStatus
from app.db.session import WriteSession
from app.repositories.calibrations import latest_drift
from app.rlaif.drift import Drift
from app.rlaif.recipe import Recipe
from app.schemas.canary import CanaryIn
from app.services import canaries
from tests.integration.stages.labelled import labelled_prompts, word_judge
from tests.integration.stages.test_calibrate import start
from tests.integration.stages.world import World


@pytest.fixture
def judge(world: World) -> str:
    return word_judge(world, "sound", family="alpha")


@pytest.fixture
def canary(world: World, judge: str) -> str:
    """Of a measured baseline, due an hour ago."""
    baseline = start(world, judge, world.add_prompts(labelled_prompts(60)))
    assert world.drive(baseline.run_id).status is RunStatus.SUCCEEDED
    request = CanaryIn(name="daily", baseline=baseline.id, every_hours=24)
    with world.sessions.begin() as session:
        id_ = canaries.create(WriteSession(session), world.project, request).canary.id
    overdue(world, id_, hours=1)
    return id_


def overdue(world: World, canary_id: str, *, hours: float) -> None:
    with world.sessions.begin() as session:
        session.execute(
            text("UPDATE canaries SET next_due_at = now() - make_interval(hours => :hours) WHERE id = :id"),
            {"hours": hours, "id": canary_id},
        )


def look(world: World, canary_id: str) -> str | None:
    """What one pass of a rescuer does."""
    with world.sessions.begin() as session:
        return canaries.open_due(session, canary_id) if canary_id in canaries.due(session) else None


def measurements(world: World, canary_id: str) -> list[Calibration]:
    with world.sessions() as session:
        query = select(Calibration).where(Calibration.canary_id == canary_id).order_by(Calibration.due_at)
        return list(session.scalars(query))


def measured(world: World, canary_id: str) -> Drift:
    """The drift of what is due now."""
    calibration_id = look(world, canary_id)
    assert calibration_id is not None
    run = world.drive(world.get(Calibration, calibration_id).run_id)
    assert run.status is RunStatus.SUCCEEDED, run.error
    return Drift.model_validate(world.get(Calibration, calibration_id).drift)


class TestSchedule:
    def test_it_is_due_when_the_baseline_is_that_old(self, world: World, judge: str) -> None:
        baseline = start(world, judge, world.add_prompts(labelled_prompts(20)))
        world.drive(baseline.run_id)
        with world.sessions.begin() as session:
            request = CanaryIn(name="daily", baseline=baseline.id, every_hours=24)
            made = canaries.create(WriteSession(session), world.project, request).canary
            hours = session.scalars(select(func.extract("epoch", made.next_due_at - func.now()) / 3600)).one()
        assert 23.9 < float(hours) <= 24
        assert look(world, made.id) is None

    def test_two_rescuers_open_one_measurement(self, world: World, canary: str) -> None:
        together = threading.Barrier(4)

        def rescuer() -> str | None:
            with world.sessions.begin() as session:
                together.wait()
                return canaries.open_due(session, canary)

        with ThreadPoolExecutor(4) as pool:
            opened = [future.result() for future in [pool.submit(rescuer) for _ in range(4)]]
        assert len([one for one in opened if one is not None]) == 1
        assert len(measurements(world, canary)) == 1

    def test_times_that_nobody_saw_are_made_up_for_by_one(self, world: World, canary: str) -> None:
        overdue(world, canary, hours=100)
        assert look(world, canary) is not None
        assert look(world, canary) is None
        with world.sessions() as session:
            ahead = select(func.extract("epoch", Canary.next_due_at - func.now()) / 3600).where(Canary.id == canary)
            assert 19 < float(session.scalars(ahead).one()) < 21  # 100 h ago, then every 24: 20 h from now

    def test_one_that_has_not_ended_is_not_joined_by_another(self, world: World, canary: str) -> None:
        assert look(world, canary) is not None
        overdue(world, canary, hours=1)
        assert look(world, canary) is None
        assert len(measurements(world, canary)) == 1

    def test_a_stopped_canary_is_never_due(self, world: World, canary: str) -> None:
        with world.sessions.begin() as session:
            canaries.stop(WriteSession(session), world.project, canary)
        assert look(world, canary) is None

    def test_it_asks_anew(self, world: World, canary: str) -> None:
        calibration_id = look(world, canary)
        assert calibration_id is not None
        with world.sessions() as session:
            run_id = session.get_one(Calibration, calibration_id).run_id
            recipe: dict[str, Any] = session.execute(
                text("SELECT recipe FROM runs WHERE id = :id"), {"id": run_id}
            ).scalar_one()
        assert Recipe.model_validate(recipe).judge.cache is False


class TestDrift:
    def test_the_same_judge_has_not_drifted(self, world: World, canary: str) -> None:
        drift = measured(world, canary)
        assert (drift.compared, drift.drifted, drift.reasons) == (60, False, ())
        assert drift.flipped is not None
        assert drift.flipped.value == 0

    def test_a_judge_that_changed_behind_its_name_is_found(self, world: World, canary: str, judge: str) -> None:
        assert not measured(world, canary).drifted
        with world.sessions.begin() as session:
            row = session.get_one(Judge, judge)
            row.spec = {
                **row.spec,
                "criteria": [
                    {"name": "weak", "description": "Says weak.", "check": {"kind": "words", "any_of": ["weak"]}}
                ],
            }
        overdue(world, canary, hours=1)
        drift = measured(world, canary)
        assert drift.drifted
        assert drift.became_wrong > 10
        assert drift.mcnemar_p < 0.01
        with world.sessions() as session:
            newest = latest_drift(session, session.get_one(Canary, canary).baseline_id)
        assert newest is not None
        assert Drift.model_validate(newest) == drift

    def test_what_is_shown_is_the_newest_that_ended(self, world: World, canary: str) -> None:
        measured(world, canary)
        overdue(world, canary, hours=1)
        look(world, canary)
        with world.sessions() as session:
            row = canaries.get(session, world.project, canary)
        assert [each.run.status for each in row.measurements] == [RunStatus.QUEUED, RunStatus.SUCCEEDED]
