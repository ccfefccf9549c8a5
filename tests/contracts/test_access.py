"""Every route x {no key, revoked key, too small a scope, another project's id}, built from the app's routes."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.db.ids import Kind, new_id
from app.db.models import Calibration, Scope
from tests.contracts.routes import PUBLIC, Operation, all_operations
from tests.live_api import LiveApi
from tests.unit.labelled import answering, report_of

OPERATIONS = all_operations()
GUARDED = [operation for operation in OPERATIONS if operation.path not in PUBLIC]
WITH_IDS = [operation for operation in GUARDED if "{" in operation.path]
SCOPED = [operation for operation in GUARDED if operation.scope is not Scope.READ]
SMALLER = {Scope.WRITE: Scope.READ, Scope.ADMIN: Scope.WRITE}
RUBRIC: dict[str, Any] = {"criteria": [{"name": "c", "description": "d"}]}
PROGRAM = {"kind": "checks", "criteria": [{"name": "c", "description": "d", "check": {"kind": "repetition"}}]}
# Bodies of the operations on an object that need one.
BODIES: dict[str, Any] = {
    "POST /v1/rubrics/{rubric_id}/revisions": RUBRIC,
    "POST /v1/rubrics/{rubric_id}/revisions/{number}/trials": {
        "judge": "j",
        "prompt": "p",
        "first": "a",
        "second": "b",
    },
    "POST /v1/rubrics/{rubric_id}/revisions/{number}:test": {"judge": "j"},
    "POST /v1/checkpoints/{checkpoint_id}/evaluations": {"name": "e", "judge": "j"},
    "POST /v1/trajectory-evaluations": {"name": "e", "prompt_set": "p", "judge": "j"},
    "POST /v1/checkpoints/{checkpoint_id}/scores": {"conversations": [{"prompt": "p", "completion": "c"}]},
}
BODIES |= {
    "POST /v1/annotation-queues/{queue_id}:route": {"run": "r", "limit": 1},
    "POST /v1/annotation-queues/{queue_id}/claims": {"annotator": "ada"},
    "POST /v1/annotation-queues/{queue_id}/claims/{claim_id}:answer": {"token": "t", "answer": "A"},
    "POST /v1/annotation-queues/{queue_id}/claims/{claim_id}:release": {"token": "t"},
    "POST /v1/annotation-queues/{queue_id}/snapshots": {"name": "s"},
}
JSONL = {"Content-Type": "application/jsonl"}
LABEL = (
    '{"prompt": "q", "candidates": ["x", "y"], '
    '"annotations": [{"first": 0, "second": 1, "annotator": "ada", "answer": "A"}]}\n'
)
TRACE = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n'
LINES = {
    "POST /v1/annotation-queues/{queue_id}/annotations:upload": LABEL,
    "POST /v1/standing-cohorts/{standing_cohort_id}/traces": TRACE,
}
ANSWER = '{"comparison_id": "c", "order": "AB", "answer": "A"}\n'
EXTRAS = {"number": "1", "name": "config.json", "model_digest": "0" * 64}
TASK = {
    "config": {"task": "t", "output_type": "generate_until", "doc_to_text": "q", "doc_to_target": "a"},
    "documents": [{"q": "2 + 2 =", "a": "4"}],
}


@pytest.fixture(scope="module")
def owner(api: LiveApi) -> str:
    return api.project()


@pytest.fixture(scope="module")
def ids(api: LiveApi, owner: str) -> dict[str, str]:
    """One object of every kind that a path can name, all of one project."""
    client = api.client(owner)
    made = {
        "rubric_id": client.post("/v1/rubrics", json={"name": "r", **RUBRIC}),
        "prompt_set_id": client.post("/v1/prompt-sets", json={"name": "p", "prompts": [{"prompt": "a"}]}),
        "model_id": client.post("/v1/models", json={"name": "m", "source": "local:base_model"}),
        "judge_id": client.post("/v1/judges", json={"name": "j", "spec": {"kind": "checks"}}),
        "answer_set_id": client.post(
            "/v1/answer-sets", params={"name": "a"}, content=ANSWER, headers={"Content-Type": "application/jsonl"}
        ),
        "task_id": client.post("/v1/tasks", json=TASK),
        "standing_cohort_id": client.post("/v1/standing-cohorts", json={"name": "c"}),
        "secret_id": client.post("/v1/secrets", json={"name": "s", "host": "h", "value": "v"}),
        "key_id": client.post("/v1/keys", json={"name": "k", "scopes": ["read"]}),
    }
    assert {name: answer.status_code for name, answer in made.items()} == dict.fromkeys(made, 201)
    found = {name: answer.json()["id"] for name, answer in made.items()}
    found |= {**_run_and_checkpoint(api, found), "trial_id": _trial(client, found["rubric_id"])}
    found |= _calibration_and_canary(api, owner, found)
    return {**found, **_queue_and_claim(client, found["rubric_id"])}


def _calibration_and_canary(api: LiveApi, owner: str, ids: dict[str, str]) -> dict[str, str]:
    """Of one that is measured, as no worker is here to do it."""
    client = api.client(owner)
    judge = client.post("/v1/judges", json={"name": "program", "spec": PROGRAM}).json()["id"]
    labelled = {"prompt": "q", "chosen": "x", "rejected": "y", "split": "train"}
    prompts = client.post("/v1/prompt-sets", json={"name": "labelled", "prompts": [labelled]}).json()["id"]
    revision = client.get(f"/v1/rubrics/{ids['rubric_id']}").json()["revision"]["id"]
    body = {"name": "c", "judge": judge, "rubric_revision_id": revision, "prompt_set": prompts}
    made = client.post("/v1/calibrations", json=body)
    assert made.status_code == 201, made.text
    calibration_id: str = made.json()["id"]
    report = report_of(answering(20, right=15)).model_dump(mode="json")
    with api.app.state.sessions.begin() as session:
        session.get_one(Calibration, calibration_id).report = report
    canary = client.post("/v1/canaries", json={"name": "c", "baseline": calibration_id, "every_hours": 24})
    assert canary.status_code == 201, canary.text
    return {"calibration_id": calibration_id, "canary_id": canary.json()["id"]}


def _queue_and_claim(client: httpx.Client, rubric_id: str) -> dict[str, str]:
    """Of an item that one of two people has answered."""
    body = {"name": "q", "rubric": rubric_id, "annotators_per_item": 2}
    queue_id: str = client.post("/v1/annotation-queues", json=body).json()["id"]
    uploaded = client.post(f"/v1/annotation-queues/{queue_id}/annotations:upload", content=LABEL, headers=JSONL)
    assert uploaded.status_code == 201, uploaded.text
    claim = client.post(f"/v1/annotation-queues/{queue_id}/claims", json={"annotator": "bo"})
    assert claim.status_code == 200, claim.text
    return {"queue_id": queue_id, "claim_id": claim.json()["id"]}


def _trial(client: httpx.Client, rubric_id: str) -> str:
    judge = client.post("/v1/judges", json={"name": "t", "spec": PROGRAM}).json()["id"]
    pair = {"judge": judge, "prompt": "p", "first": "a", "second": "b"}
    made = client.post(f"/v1/rubrics/{rubric_id}/revisions/1/trials", json=pair)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def _run_and_checkpoint(api: LiveApi, ids: dict[str, str]) -> dict[str, str]:
    found = {"run_id": new_id(Kind.RUN), "checkpoint_id": new_id(Kind.CHECKPOINT)}
    run = """
        INSERT INTO runs (id, project_id, name, status, recipe, prompt_set_id, base_model_id, version)
        SELECT :run_id, project_id, 'run', 'queued', '{}', :prompt_set_id, id, 1 FROM models WHERE id = :model_id
    """
    checkpoint = """
        INSERT INTO checkpoints (id, project_id, run_id, round, kind, step, storage_key, manifest, digest, size_bytes,
            metrics, lineage)
        SELECT :checkpoint_id, project_id, :run_id, 0, 'policy', 1, storage_key,
            '{"digest": "0", "files": []}', digest, 1, '{}', '{}'
        FROM models WHERE id = :model_id
    """
    with api.app.state.sessions.begin() as session:
        for statement in (run, checkpoint):
            session.execute(text(statement), {**ids, **found})
    return found


def call(client: httpx.Client, operation: Operation, ids: dict[str, str]) -> httpx.Response:
    path = re.sub(r"\{(\w+)(:\w+)?\}", lambda match: {**EXTRAS, **ids}[match[1]], operation.path)
    if (lines := LINES.get(str(operation))) is not None:
        return client.request(operation.method, path, content=lines, headers=JSONL)
    return client.request(operation.method, path, json=BODIES.get(str(operation)))


@pytest.fixture(scope="module")
def revoked(api: LiveApi, owner: str) -> str:
    client = api.client(owner)
    key = client.post("/v1/keys", json={"name": "gone", "scopes": ["admin"]}).json()
    assert client.delete(f"/v1/keys/{key['id']}").status_code == 204
    plaintext: str = key["key"]
    return plaintext


class TestGuards:
    def test_the_public_routes_are_the_known_ones(self) -> None:
        assert {operation.path for operation in OPERATIONS if operation.scope is None} == PUBLIC

    def test_what_changes_something_needs_more_than_reading(self) -> None:
        assert [str(found) for found in GUARDED if found.method != "GET" and found.scope is Scope.READ] == []

    def test_every_path_parameter_is_exercised(self, ids: dict[str, str]) -> None:
        named = {match for operation in WITH_IDS for match in re.findall(r"\{(\w+)", operation.path)}
        assert named <= ids.keys() | EXTRAS.keys()


@pytest.mark.parametrize("operation", GUARDED, ids=str)
class TestWithoutAKey:
    def test_no_key(self, api: LiveApi, ids: dict[str, str], operation: Operation) -> None:
        answer = call(api.client(None), operation, ids)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")

    def test_a_revoked_key(self, api: LiveApi, ids: dict[str, str], revoked: str, operation: Operation) -> None:
        answer = call(api.client(revoked), operation, ids)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("operation", SCOPED, ids=str)
def test_too_small_a_scope(api: LiveApi, owner: str, ids: dict[str, str], operation: Operation) -> None:
    assert operation.scope is not None
    answer = call(api.client(api.key(owner, [SMALLER[operation.scope]])), operation, ids)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")


@pytest.fixture(scope="module")
def stranger(api: LiveApi) -> httpx.Client:
    return api.client(api.project())


@pytest.mark.parametrize("operation", WITH_IDS, ids=str)
def test_another_projects_object_looks_like_none(
    api: LiveApi, stranger: httpx.Client, ids: dict[str, str], operation: Operation
) -> None:
    """404 with the body that an id nobody has gets, the id and the request id apart."""
    absent = {name: new_id(Kind(id_.rpartition("_")[0])) for name, id_ in ids.items()}
    theirs, nobodys = call(stranger, operation, ids), call(stranger, operation, absent)
    assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found")
    assert _without(theirs, ids) == _without(nobodys, absent)


def _without(answer: httpx.Response, ids: dict[str, str]) -> str:
    body = answer.text.replace(answer.json()["request_id"], "")
    for name, id_ in ids.items():
        body = body.replace(id_, name)
    return body


def test_the_owners_objects_are_all_still_there(api: LiveApi, owner: str, ids: dict[str, str]) -> None:
    """The answers above were not 404 for want of an object, and nothing of a stranger's changed one."""
    client = api.client(owner)
    for operation in WITH_IDS:
        if operation.method == "GET" and operation.path.count("{") == 1 and operation.path.endswith("}"):
            assert call(client, operation, ids).status_code == 200, operation
