"""The report over HTTP: built from what the stages measured, readable at any time, in three forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.db.models import CheckpointKind
from app.rlaif.evidence import EvaluationMetrics
from tests.integration.api.runs.produced import EVALUATION, FIGURES, measure, publish
from tests.integration.api.runs.service import Client, Service

SHOWN = EvaluationMetrics.model_validate(EVALUATION).model_dump(mode="json")
"""What was stored by an older version, with null for what it did not measure."""


@pytest.fixture
def measured(client: Client, service: Service, tmp_path: Path) -> dict[str, Any]:
    """A run to its end, with its evaluation and two checkpoints."""
    run = client.run()
    client.drive(run["id"], metrics=FIGURES)
    (tmp_path / "weights").write_bytes(b"w")
    with service.sessions.begin() as session:
        publish(session, service.store, run["id"], tmp_path, CheckpointKind.REWARD_MODEL)
        policy = publish(session, service.store, run["id"], tmp_path, CheckpointKind.POLICY)
        measure(session, run["id"], policy)
    return dict(client.get(f"/v1/runs/{run['id']}"))


class TestReport:
    def test_says_how_much_better_and_by_whom(self, client: Client, measured: dict[str, Any]) -> None:
        report = client.get(f"/v1/runs/{measured['id']}/report")
        assert report["headline"]["win_rate"] == SHOWN["win_rate"]
        assert report["headline"]["judge"] == "measurer"
        assert report["headline"]["control"]["value"] == 0.5
        assert "0.780 (95% interval 0.710 to 0.840)" in report["headline"]["sentence"]
        assert report["by_cohort"] == SHOWN["by_cohort"]

    def test_has_every_stages_evidence(self, client: Client, measured: dict[str, Any]) -> None:
        report = client.get(f"/v1/runs/{measured['id']}/report")
        assert report["judge"]["metrics"] == FIGURES["judge"]
        assert report["evaluation_judge"]["metrics"]["coverage"] == 1.0
        assert report["preferences"] == FIGURES["prefer"]
        assert report["reward_model"] == {name: FIGURES["reward_model"].get(name) for name in report["reward_model"]}
        assert report["examples"] == EVALUATION["examples"]
        assert report["disagreement_with_training_judge"] == 0.1

    def test_names_all_it_came_from_by_content(self, client: Client, measured: dict[str, Any]) -> None:
        lineage = client.get(f"/v1/runs/{measured['id']}/report")["lineage"]
        inputs = measured["inputs"]
        prompt_set = client.get(f"/v1/prompt-sets/{inputs['prompt_set_id']}")
        assert lineage["prompt_set"]["digest"] == prompt_set["digest"]
        assert lineage["base_model"]["digest"] == client.get(f"/v1/models/{inputs['base_model_id']}")["digest"]
        assert lineage["rubric"]["revision_id"] == inputs["rubric_revision_id"]
        assert [row["kind"] for row in lineage["checkpoints"]] == ["reward_model", "policy"]

    def test_low_coverage_is_a_caveat(self, client: Client, measured: dict[str, Any]) -> None:
        caveats = {row["code"]: row["detail"] for row in client.get(f"/v1/runs/{measured['id']}/report")["caveats"]}
        assert "parse 3, refusal 1" in caveats["low_coverage"]

    def test_an_unfinished_run_has_a_report_without_figures(self, client: Client) -> None:
        run = client.run()
        report = client.get(f"/v1/runs/{run['id']}/report")
        assert report["headline"] | {"sentence": ""} == {
            "sentence": "",
            "win_rate": None,
            "control": None,
            "judge": None,
            "circular": None,
        }
        assert "queued" in report["headline"]["sentence"]
        assert (report["preferences"], report["reward_model"], report["examples"]) == (None, None, [])

    def test_a_fork_reports_what_it_reused(self, client: Client, measured: dict[str, Any]) -> None:
        body = {"name": "fork", "fork": {"run": measured["id"], "from_stage": "policy"}}
        report = client.get(f"/v1/runs/{client.post('/v1/runs', body)['id']}/report")
        assert report["reward_model"] == client.get(f"/v1/runs/{measured['id']}/report")["reward_model"]
        assert report["lineage"]["reused_stages"]["reward_model"] == measured["id"]
        assert [row["kind"] for row in report["lineage"]["checkpoints"]] == ["reward_model"]
        assert report["headline"]["win_rate"] is None

    @pytest.mark.parametrize(("format_", "media"), [("text", "text/plain"), ("markdown", "text/markdown")])
    def test_can_be_read(self, client: Client, measured: dict[str, Any], format_: str, media: str) -> None:
        answer = client.http.get(f"/v1/runs/{measured['id']}/report", params={"format": format_})
        assert answer.headers["Content-Type"].startswith(media)
        for shown in ("0.780", "0.710 to 0.840", "measurer", "What are tides?", "The pull of the moon."):
            assert shown in answer.text
        assert "\x1b" not in answer.text

    def test_evaluations_are_listed(self, client: Client, measured: dict[str, Any]) -> None:
        rows = client.rows(f"/v1/runs/{measured['id']}/evaluations")
        assert [row["metrics"] for row in rows] == [SHOWN]


class TestUsage:
    def test_by_stage_and_in_all(self, client: Client) -> None:
        run = client.run()
        client.spend(run["id"], judge_usd=0.25)
        client.drive(run["id"], stop_before="reward_model")
        client.train(run["id"], steps=3)
        usage = client.get(f"/v1/runs/{run['id']}/usage")
        by_stage = {row["stage"]: row for row in usage["stages"]}
        assert by_stage["sample"]["judge_usd"] == 0.25
        assert by_stage["reward_model"]["compute_seconds"] == 1.5
        assert by_stage["evaluate"]["wall_seconds"] is None
        assert (usage["total"]["judge_usd"], usage["total"]["compute_seconds"]) == (0.25, 1.5)
        shown = client.get(f"/v1/runs/{run['id']}")
        assert shown["total"] == usage["total"]
        assert shown["stages"][3]["usage"]["compute_seconds"] == 1.5
