"""Encoders: registered like other models, a reward model may start from one, and refused where text is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.model_directory import InvalidModel, inspect_model
from tests.integration.api.runs.service import EVALUATION_JUDGE, JUDGE, PROMPTS, RUBRIC
from tests.integration.api.test_models import tarred, upload
from tests.live_api import LiveApi


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.training.tiny import build_encoder  # torch

    return build_encoder(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture
def uploaded(client: httpx.Client, encoder: Path) -> str:
    answer = upload(client, tarred(encoder), name="encoder")
    assert answer.status_code == 201, answer.text
    assert (answer.json()["family"], answer.json()["architecture"]) == ("bert", "BertForMaskedLM")
    return str(answer.json()["id"])


def post_run(client: httpx.Client, *, base_model: Any = None, **reward_model: Any) -> httpx.Response:
    body = {
        "name": "run",
        "rubric": RUBRIC,
        "prompt_set": PROMPTS,
        "base_model": base_model or {"name": "base", "source": "local:base_model"},
        "judge": JUDGE,
        "evaluation_judge": EVALUATION_JUDGE,
        "recipe": {"sample": {"max_new_tokens": 32}, "reward_model": reward_model},
    }
    return client.post("/v1/runs", json=body)


def test_a_run_may_start_its_reward_model_from_one(client: httpx.Client, uploaded: str) -> None:
    answer = post_run(client, backbone=uploaded, max_length=256)
    assert answer.status_code == 201, answer.text
    assert answer.json()["recipe"]["reward_model"]["backbone"] == uploaded


def test_it_is_no_base_model(client: httpx.Client, uploaded: str) -> None:
    problem = post_run(client, base_model=uploaded).json()
    assert (problem["status"], problem["field"]) == (422, "base_model")
    assert "recipe.reward_model.backbone" in problem["detail"]
    assert client.get("/v1/runs").json()["data"] == []


def test_it_is_no_judge(client: httpx.Client, uploaded: str) -> None:
    spec = {"kind": "local", "family": "bert", "model": uploaded}
    problem = client.post("/v1/judges", json={"name": "j", "spec": spec}).json()
    assert (problem["status"], problem["field"], problem["code"]) == (422, "spec.model", "not_a_writer")


def test_its_own_window_bounds_max_length(client: httpx.Client, uploaded: str) -> None:
    problem = post_run(client, backbone=uploaded, max_length=257).json()
    assert (problem["status"], problem["field"]) == (422, "recipe.reward_model.max_length")
    assert "256 tokens" in problem["detail"]


def test_a_backbone_must_exist_in_the_project(client: httpx.Client, uploaded: str, foreign: httpx.Client) -> None:
    for other, id_ in ((foreign, uploaded), (client, "model_01m7xk5mgzeyva4mageqj2tqtk")):
        problem = post_run(other, backbone=id_).json()
        assert (problem["status"], problem["field"]) == (422, "recipe.reward_model.backbone")
        assert "does not exist" in problem["detail"]


@pytest.fixture
def foreign(api: LiveApi) -> httpx.Client:
    return api.client(api.project())


@pytest.mark.parametrize("name", ["cls_token", "sep_token"])
def test_its_input_stands_between_two_tokens(encoder: Path, tmp_path: Path, name: str) -> None:
    directory = _copy(encoder, tmp_path)
    document = json.loads((directory / "tokenizer_config.json").read_text())
    del document[name]
    (directory / "tokenizer_config.json").write_text(json.dumps(document))
    with pytest.raises(InvalidModel, match=name):
        inspect_model(directory)


def test_a_template_that_it_brings_must_be_one(encoder: Path, tmp_path: Path) -> None:
    directory = _copy(encoder, tmp_path)
    assert inspect_model(directory).family == "bert"
    (directory / "chat_template.jinja").write_text("{% for %}")
    with pytest.raises(InvalidModel, match="not Jinja"):
        inspect_model(directory)


@pytest.mark.parametrize("architectures", [["BertForTokenClassification"], ["LlamaForCausalLM"], [], None])
def test_only_classes_that_can_start_a_reward_model(encoder: Path, tmp_path: Path, architectures: Any) -> None:
    directory = _copy(encoder, tmp_path)
    document = json.loads((directory / "config.json").read_text()) | {"architectures": architectures}
    (directory / "config.json").write_text(json.dumps(document))
    with pytest.raises(InvalidModel, match="BertForSequenceClassification"):
        inspect_model(directory)


def _copy(encoder: Path, tmp_path: Path) -> Path:
    for file in encoder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path
