"""Which queues a run may listen to."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Calibration, PromptSet, RubricRevision, Run, RunKind
from app.rlaif.recipe import Recipe
from app.services.people_rules import PeopleRefused, require_people
from tests.integration.api.people.queue import Queue, judged_run
from tests.integration.api.people.test_imports import labelled
from tests.integration.api.runs.service import RUBRIC, Client

EVEN = {"trainer": (0.5, 0.5)}


def forked(client: Client, run_id: str, queue_id: str, *, expect: int) -> Any:
    recipe = {"stop_after": "prefer", "prefer": {"people": {"queue": queue_id, "policy": "weighted"}}}
    body = {"name": "fork", "fork": {"run": run_id, "from_stage": "prefer"}, "recipe": recipe}
    return client.post("/v1/runs", body, expect=expect)


class TestForks:
    def test_may_listen_to_people_who_answer_by_the_same_rubric(self, queue: Queue) -> None:
        run_id, _ = judged_run(queue.client, [EVEN])
        made = forked(queue.client, run_id, queue.id, expect=201)
        assert made["recipe"]["prefer"]["people"] == {"queue": queue.id, "policy": "weighted", "judge_votes": 1.0}

    def test_another_question(self, queue: Queue) -> None:
        run_id, _ = judged_run(queue.client, [EVEN])
        other = queue.client.post("/v1/rubrics", {**RUBRIC, "name": "other", "description": "Other."})
        asked = Queue.create(queue.client, rubric=other["id"])
        problem = forked(queue.client, run_id, asked.id, expect=422)
        assert (problem["code"], problem["field"]) == ("people_refused", "recipe.prefer.people.queue")

    def test_another_projects_queue_does_not_exist(self, queue: Queue) -> None:
        stranger = queue.client.service.client()
        run_id, _ = judged_run(stranger, [EVEN])
        assert "does not exist" in forked(stranger, run_id, queue.id, expect=422)["detail"]


class TestCalibrations:
    """Labels are measured with or trained on, never both."""

    @pytest.fixture
    def snapshot(self, queue: Queue) -> str:
        queue.uploaded(labelled("q", ("ada", "A"), ("bo", "A")))
        return str(queue.client.post(f"{queue.path}/snapshots", {"name": "labels"})["id"])

    @staticmethod
    def calibrated(session: Session, queue: Queue, prompt_set_id: str) -> str:
        """A calibration on a prompt set, as a run would have left it."""
        judge = queue.client.post("/v1/judges", {"name": "j", "spec": {"kind": "checks"}})["id"]
        revision = queue.client.get(queue.path)["rubric_revision_id"]
        run = Run(
            id=new_id(Kind.RUN), project_id=queue.client.project_id, kind=RunKind.CALIBRATION, name="calibration",
            recipe={}, rubric_revision_id=revision, prompt_set_id=prompt_set_id, judge_id=judge,
        )  # fmt: skip
        session.add(run)
        session.flush()
        calibration = Calibration(
            id=new_id(Kind.CALIBRATION), project_id=run.project_id, name="calibration", run_id=run.id, judge_id=judge,
            rubric_revision_id=revision, prompt_set_id=prompt_set_id,
        )  # fmt: skip
        session.add(calibration)
        session.flush()
        return calibration.id

    def test_a_queue_whose_labels_calibrated_the_judge(self, queue: Queue, snapshot: str) -> None:
        other = Queue.create(queue.client)
        with queue.client.service.sessions.begin() as session:
            calibration = self.calibrated(session, queue, snapshot)
            rubric = session.get_one(RubricRevision, queue.client.get(queue.path)["rubric_revision_id"])

            def require(asked: Queue, *calibrations: str) -> None:
                recipe = Recipe.model_validate({"stop_after": "prefer", "prefer": {"people": {"queue": asked.id}}})
                require_people(session, queue.client.project_id, recipe, rubric=rubric, calibration_ids=calibrations)

            with pytest.raises(PeopleRefused, match="calibrated on a snapshot"):
                require(queue, calibration)
            require(other, calibration)
            require(queue)
            assert session.get_one(PromptSet, snapshot).annotation_queue_id == queue.id
