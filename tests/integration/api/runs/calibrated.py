"""Calibrations over the live API, measured without a worker: their report is put where the stage would put it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from app.db.models import Calibration, RubricRevision
from app.rlaif.calibration_evidence import CalibrationReport
from tests.integration.api.runs.service import RUBRIC, Client
from tests.unit.labelled import answering, report_of

Json = dict[str, Any]
LABELLED = {
    "name": "labelled",
    "prompts": [
        {
            "id": f"label-{number}",
            "messages": [{"role": "user", "content": f"What is {number}?"}],
            "split": "train",
            "candidates": ["Short.", "Rather longer than that."],
            "annotations": [{"first": 0, "second": 1, "annotator": "ann", "answer": "A"}],
        }
        for number in range(6)
    ],
}


def rubric_revision(client: Client) -> str:
    """The newest revision of the client's rubric, made once."""
    found = client.get("/v1/rubrics", name=RUBRIC["name"])["data"]
    rubric: Json = found[0] if found else client.post("/v1/rubrics", RUBRIC)
    return str(rubric["revision"]["id"])


def labelled_set(client: Client) -> str:
    found = client.get("/v1/prompt-sets", name=LABELLED["name"])["data"]
    return str((found[0] if found else client.post("/v1/prompt-sets", LABELLED))["id"])


def checks_judge(client: Client, name: str, **spec: Any) -> str:
    whole = {"name": name, "spec": {"kind": "checks", "family": name, **spec}}
    return str(client.post("/v1/judges", whole)["id"])


def request(client: Client, judge: str, /, **changes: Any) -> Json:
    return {
        "name": "calibration",
        "judge": judge,
        "rubric_revision_id": rubric_revision(client),
        "prompt_set": labelled_set(client),
        **changes,
    }


def measured(client: Client, judge: str, *, right: int = 95, **changes: Any) -> Json:
    """A calibration that has its report: of 100 comparisons the judge is right about so many."""
    made: Json = client.post("/v1/calibrations", request(client, judge, **changes))
    client.drive(made["run_id"])
    store(client, made["id"], report_of(answering(100, right=right)))
    found: Json = client.get(f"/v1/calibrations/{made['id']}")
    return found


def store(client: Client, calibration_id: str, report: CalibrationReport) -> None:
    with client.service.sessions.begin() as session:
        now = session.scalars(select(RubricRevision.created_at)).first()  # any moment of the database's own
        whole = report.model_copy(update={"measured_at": now}).model_dump(mode="json")
        session.execute(update(Calibration).where(Calibration.id == calibration_id).values(report=whole))
