"""Calibrations over the API: made with their run, waited for, read, and used by runs that gates let through."""

from __future__ import annotations

from typing import Any

import pytest

from app.db.models import Judge
from tests.integration.api.runs.calibrated import (
    checks_judge,
    labelled_set,
    measured,
    request,
    rubric_revision,
)
from tests.integration.api.runs.service import Client, Service

Json = dict[str, Any]
FORK_FIGURES = {
    "judge": {
        "verdicts": 10,
        "coverage": 0.8,
        "invalid": {},
        "position_consistency": 0.5,
        "first_position_preference": 0.0,
        "prefer_longer_share": None,
    }
}


@pytest.fixture
def judge(client: Client) -> str:
    return checks_judge(client, "trainer")


def run_with(client: Client, judge: str, /, *, expect: int = 201, **recipe: Any) -> Json:
    """A run of this judge that stops before training."""
    body = client.request(
        rubric=rubric_revision(client), judge=judge, evaluation_judge=None, recipe={"stop_after": "prefer", **recipe}
    )
    made: Json = client.post("/v1/runs", body, expect=expect)
    return made


class TestCreate:
    def test_comes_with_its_run(self, client: Client, judge: str) -> None:
        made = client.post("/v1/calibrations", request(client, judge))
        assert (made["status"], made["measured"], made["report"]) == ("queued", False, None)
        run = client.get(f"/v1/runs/{made['run_id']}")
        assert (run["kind"], run["inputs"]["base_model_id"]) == ("calibration", None)
        assert [stage["kind"] for stage in run["stages"]] == ["sample", "judge", "calibrate"]
        assert client.get(f"/v1/calibrations/{made['id']}") == made

    def test_a_replayed_key_makes_one(self, client: Client, judge: str) -> None:
        body, headers = request(client, judge), {"Idempotency-Key": "calibration-1"}
        one, two = (client.post("/v1/calibrations", body, headers=headers) for _ in range(2))
        assert one == two
        assert len(client.rows("/v1/calibrations")) == 1

    def test_its_run_is_no_pipeline_and_so_not_listed_with_them(self, client: Client, judge: str) -> None:
        made = client.post("/v1/calibrations", request(client, judge))
        assert client.rows("/v1/runs") == []
        assert [row["id"] for row in client.rows("/v1/runs", kind="calibration")] == [made["run_id"]]

    def test_lists_by_judge(self, client: Client, judge: str) -> None:
        other = checks_judge(client, "other")
        ids = [client.post("/v1/calibrations", request(client, each))["id"] for each in (judge, other)]
        assert [row["id"] for row in client.rows("/v1/calibrations")] == ids[::-1]
        assert [row["id"] for row in client.rows("/v1/calibrations", judge=other)] == ids[1:]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("judge", "judge_01m7xk5mgzeyva4mageqj2tqtk"),
            ("prompt_set", "pset_01m7xk5mgzeyva4mageqj2tqtk"),
            ("rubric_revision_id", "revision_01m7xk5mgzeyva4mageqj2tqtk"),
        ],
    )
    def test_what_it_names_must_be_there(self, client: Client, judge: str, field: str, value: str) -> None:
        problem = client.post("/v1/calibrations", request(client, judge, **{field: value}), expect=404)
        assert problem["field"] == field

    def test_candidates_without_labels_are_refused(self, client: Client, judge: str) -> None:
        bare = {"id": "a", "prompt": "What?", "candidates": ["x", "y"]}
        prompt_set = client.post("/v1/prompt-sets", {"name": "bare", "prompts": [bare]})["id"]
        problem = client.post("/v1/calibrations", request(client, judge, prompt_set=prompt_set), expect=422)
        assert (problem["code"], problem["field"]) == ("nothing_labelled", "prompt_set")
        assert client.rows("/v1/calibrations") == []
        assert client.rows("/v1/runs", kind="calibration") == []

    def test_a_split_without_labels_is_refused(self, client: Client, judge: str) -> None:
        problem = client.post("/v1/calibrations", request(client, judge, split="held_out"), expect=422)
        assert problem["code"] == "nothing_labelled"


class TestRead:
    def test_waiting_ends_with_the_run(self, client: Client, judge: str) -> None:
        made = client.post("/v1/calibrations", request(client, judge))
        client.drive(made["run_id"])
        assert client.get(f"/v1/calibrations/{made['id']}", wait=30)["status"] == "succeeded"

    def test_there_is_no_report_before_it_is_measured(self, client: Client, judge: str) -> None:
        made = client.post("/v1/calibrations", request(client, judge))
        problem = client.get(f"/v1/calibrations/{made['id']}/report", expect=409)
        assert problem["code"] == "not_measured"
        assert made["run_id"] in problem["detail"]

    def test_the_report_in_every_format(self, client: Client, judge: str) -> None:
        calibration = measured(client, judge)
        path = f"/v1/calibrations/{calibration['id']}/report"
        assert client.get(path) == calibration["report"]
        for format_, media_type in (("markdown", "text/markdown"), ("text", "text/plain")):
            answer = client.http.get(path, params={"format": format_})
            assert answer.headers["content-type"].startswith(media_type)
            assert "Agreement with people" in answer.text


class TestComposites:
    def test_a_panel_is_of_its_members_families(self, client: Client, judge: str) -> None:
        members = [judge, checks_judge(client, "second")]
        made = client.post("/v1/judges", {"name": "panel", "spec": {"kind": "panel", "members": members}})
        assert (made["family"], made["spec"]["members"]) == ("second+trainer", members)

    def test_a_member_must_be_there(self, client: Client, judge: str) -> None:
        spec = {"kind": "panel", "members": [judge, "judge_01m7xk5mgzeyva4mageqj2tqtk"]}
        problem = client.post("/v1/judges", {"name": "panel", "spec": spec}, expect=404)
        assert problem["field"] == "spec.members.1"

    def test_a_panel_of_panels_is_refused(self, client: Client, judge: str) -> None:
        members = [judge, checks_judge(client, "second")]
        panel = client.post("/v1/judges", {"name": "panel", "spec": {"kind": "panel", "members": members}})["id"]
        spec = {"kind": "cascade", "steps": [judge, panel], "maximum_risk": 0.1}
        problem = client.post("/v1/judges", {"name": "nested", "spec": spec}, expect=422)
        assert (problem["code"], problem["field"]) == ("member_refused", "spec.steps.1")

    def test_its_calibration_is_measured_and_of_the_same_judges_in_this_project(
        self, client: Client, service: Service, judge: str
    ) -> None:
        def panel(name: str, *, calibration: str | None = None, expect: int = 201) -> Json:
            spec = {"kind": "panel", "members": [judge, second], "calibration": calibration}
            return dict(client.post("/v1/judges", {"name": name, "spec": spec}, expect=expect))

        stranger, second = service.client(), checks_judge(client, "second")
        theirs = measured(stranger, checks_judge(stranger, "theirs"))["id"]
        plain = panel("plain")["id"]
        unmeasured = client.post("/v1/calibrations", request(client, plain))["id"]
        for id_, status, code in (
            (theirs, 404, "calibration_missing"),
            ("nonsense", 404, "calibration_missing"),
            (unmeasured, 409, "not_measured"),
            (measured(client, judge)["id"], 422, "calibration_refused"),
        ):
            assert panel("refused", calibration=id_, expect=status)["code"] == code
        assert panel("read by it", calibration=measured(client, plain)["id"])["kind"] == "panel"

    def test_a_judge_is_named_once(self, client: Client, judge: str) -> None:
        spec = {"kind": "panel", "members": [judge, judge]}
        problem = client.post("/v1/judges", {"name": "twice", "spec": spec}, expect=422)
        assert "named twice" in problem["detail"] + str(problem.get("errors"))

    def test_a_cascade_needs_a_calibration_to_label(self, client: Client, judge: str) -> None:
        spec = {"kind": "cascade", "steps": [judge, checks_judge(client, "second")], "maximum_risk": 0.1}
        cascade = client.post("/v1/judges", {"name": "cascade", "spec": spec})["id"]
        problem = run_with(client, cascade, expect=422)
        assert problem["code"] == "cascade_not_calibrated"
        assert "curl -X POST $RLAIF_URL/v1/calibrations" in problem["detail"]

    def test_a_member_of_the_training_panel_that_measures_is_circular(self, client: Client, judge: str) -> None:
        members = [judge, checks_judge(client, "second")]
        panel = client.post("/v1/judges", {"name": "panel", "spec": {"kind": "panel", "members": members}})["id"]
        problem = client.post("/v1/runs", client.request(judge=panel, evaluation_judge=members[1]), expect=422)
        assert problem["code"] == "circular_evaluation"


class TestUse:
    def test_a_run_names_it(self, client: Client, judge: str) -> None:
        calibration = measured(client, judge)
        made = run_with(client, judge, judge={"calibration": calibration["id"]}, gates={"minimum_agreement": 0.8})
        assert made["recipe"]["judge"]["calibration"] == calibration["id"]

    def test_it_must_be_measured(self, client: Client, judge: str) -> None:
        made = client.post("/v1/calibrations", request(client, judge))
        problem = run_with(client, judge, judge={"calibration": made["id"]}, expect=409)
        assert (problem["code"], problem["field"]) == ("not_measured", "recipe.judge.calibration")

    def test_it_must_be_of_this_judge(self, client: Client, judge: str) -> None:
        calibration = measured(client, checks_judge(client, "second"))
        problem = run_with(client, judge, judge={"calibration": calibration["id"]}, expect=422)
        assert (problem["code"], problem["field"]) == ("calibration_unfit", "recipe.judge.calibration")
        assert f'"judge": "{judge}"' in problem["detail"]

    def test_it_must_be_by_this_rubric_revision(self, client: Client, judge: str) -> None:
        calibration = measured(client, judge)
        rubric = client.get("/v1/rubrics", name="brief")["data"][0]
        changed = {
            "criteria": [
                {
                    "name": "long",
                    "description": "Many words.",
                    "check": {"kind": "length", "unit": "words", "minimum": 5},
                }
            ]
        }
        revision = client.post(f"/v1/rubrics/{rubric['id']}/revisions", changed)["id"]
        body = client.request(rubric=revision, judge=judge, evaluation_judge=None)
        body["recipe"] = {"stop_after": "prefer", "judge": {"calibration": calibration["id"]}}
        problem = client.post("/v1/runs", body, expect=422)
        assert problem["code"] == "calibration_unfit"
        assert "another rubric makes another judge" in problem["detail"]

    def test_another_panel_of_the_same_judges_may_use_it(self, client: Client, judge: str) -> None:
        members = [judge, checks_judge(client, "second")]
        one, other = (
            client.post("/v1/judges", {"name": name, "spec": {"kind": "panel", "members": given}})["id"]
            for name, given in (("one", members), ("other", members[::-1]))
        )
        calibration = measured(client, one)
        assert run_with(client, other, judge={"calibration": calibration["id"]})["status"] == "queued"

    def test_another_project_s_does_not_exist(self, client: Client, service: Service, judge: str) -> None:
        stranger = service.client()
        theirs = measured(stranger, checks_judge(stranger, "theirs"))
        problem = run_with(client, judge, judge={"calibration": theirs["id"]}, expect=404)
        assert problem["field"] == "recipe.judge.calibration"

    def test_what_it_was_fitted_to_is_not_trained_on(self, client: Client, judge: str) -> None:
        calibration = measured(client, judge)
        body = client.request(
            rubric=rubric_revision(client), judge=judge, evaluation_judge=None, prompt_set=labelled_set(client)
        )
        recipe = {"stop_after": "prefer", "sample": {"source": "prompt_set"}}
        body["recipe"] = {**recipe, "judge": {"calibration": calibration["id"]}}
        problem = client.post("/v1/runs", body, expect=422)
        assert problem["code"] == "calibration_unfit"
        assert "train on other prompts" in problem["detail"]
        body["recipe"] = recipe
        assert client.post("/v1/runs", body)["status"] == "queued"

    def test_a_run_cannot_calibrate(self, client: Client, judge: str) -> None:
        recipe = {"stop_after": "calibrate", "calibrate": {}, "sample": {"source": "prompt_set"}}
        body = client.request(
            rubric=rubric_revision(client), judge=judge, prompt_set=labelled_set(client), recipe=recipe
        )
        problem = client.post("/v1/runs", body, expect=422)
        assert problem["field"] == "recipe.calibrate"
        assert "POST /v1/calibrations" in problem["detail"]

    def test_nothing_goes_on_from_a_calibration(self, client: Client, judge: str) -> None:
        calibration = measured(client, judge)
        fork = {"run": calibration["run_id"], "from_stage": "judge"}
        problem = client.post("/v1/runs", {"name": "fork", "fork": fork}, expect=422)
        assert (problem["code"], problem["field"]) == ("fork_refused", "fork.run")


class TestGates:
    def test_a_failed_gate_starts_nothing_and_says_what_to_do(self, client: Client, judge: str) -> None:
        calibration = measured(client, judge, right=60)
        gates = {"minimum_agreement": 0.75, "maximum_calibration_age_days": 30.0}
        problem = run_with(client, judge, judge={"calibration": calibration["id"]}, gates=gates, expect=409)
        assert problem["code"] == "gate_failed"
        assert problem["field"] == "recipe.gates.minimum_agreement"
        named = {
            failure["gate"]: (failure["limit"], failure["value"] < failure["limit"]) for failure in problem["failures"]
        }
        assert named["minimum_agreement"] == (0.75, True)
        assert "calibrate again" in problem["detail"]
        assert client.rows("/v1/runs") == []

    def test_a_gate_on_people_needs_a_calibration_and_says_how(self, client: Client, judge: str) -> None:
        problem = run_with(client, judge, gates={"minimum_agreement": 0.75}, expect=422)
        assert (problem["code"], problem["field"]) == ("gates_need_calibration", "recipe.gates.minimum_agreement")
        assert f'"rubric_revision_id": "{rubric_revision(client)}"' in problem["detail"]

    def test_a_gate_on_the_run_needs_none(self, client: Client, judge: str) -> None:
        assert (
            run_with(client, judge, gates={"minimum_coverage": 0.9, "minimum_consistency": 0.6})["status"] == "queued"
        )

    def test_a_gate_without_judging_is_refused(self, client: Client) -> None:
        body = client.request(judge=None, evaluation_judge=None)
        body["recipe"] = {"stop_after": "sample", "gates": {"minimum_agreement": 0.5}}
        assert client.post("/v1/runs", body, expect=422)["code"] == "calibration_unfit"

    def test_it_holds_of_verdicts_that_a_fork_reuses(self, client: Client, judge: str) -> None:
        source = run_with(client, judge)
        client.drive(source["id"], metrics=FORK_FIGURES)
        fork = {"run": source["id"], "from_stage": "prefer"}
        body = {"name": "fork", "fork": fork, "recipe": {"gates": {"minimum_consistency": 0.7}, "stop_after": "prefer"}}
        problem = client.post("/v1/runs", body, expect=409)
        assert problem["code"] == "gate_failed"
        assert problem["failures"][0]["value"] == 0.5
        body["recipe"] = {"gates": {"minimum_consistency": 0.5}, "stop_after": "prefer"}
        assert client.post("/v1/runs", body)["status"] == "queued"

    def test_verdicts_that_a_fork_reuses_unmeasured_pass_no_gate(self, client: Client, judge: str) -> None:
        source = run_with(client, judge)
        client.drive(source["id"])
        fork = {"run": source["id"], "from_stage": "prefer"}
        body = {"name": "fork", "fork": fork, "recipe": {"gates": {"minimum_coverage": 0.1}, "stop_after": "prefer"}}
        problem = client.post("/v1/runs", body, expect=409)
        assert (problem["code"], problem["failures"][0]["value"]) == ("gate_failed", None)

    def test_verdicts_that_are_there_can_be_read_by_a_calibration(self, client: Client, judge: str) -> None:
        source = run_with(client, judge)
        client.drive(source["id"], metrics=FORK_FIGURES)
        calibration = measured(client, judge)
        recipe = {"judge": {"calibration": calibration["id"]}, "stop_after": "prefer"}
        fork = {"run": source["id"], "from_stage": "prefer"}
        made = client.post("/v1/runs", {"name": "fork", "fork": fork, "recipe": recipe})
        assert [stage["status"] for stage in made["stages"]] == ["reused", "reused", "running"]


def test_the_family_of_many_judges_fits(client: Client, service: Service) -> None:
    families = [f"family-{number:02}-{'x' * 50}" for number in range(16)]
    members = [checks_judge(client, family) for family in families]
    made = client.post("/v1/judges", {"name": "many", "spec": {"kind": "panel", "members": members}})
    with service.sessions() as session:
        assert session.get_one(Judge, made["id"]).family == "+".join(families)
