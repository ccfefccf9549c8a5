"""When two judges are one instrument: what they ask and whom, not what they are called or how they are operated."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from app.db.models import Judge, RubricRevision
from app.rlaif.judges import JudgeSpec
from app.rlaif.rubric import Rubric
from app.services.independence import is_circular

SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)
SHORT = {
    "name": "short",
    "description": "Few words.",
    "check": {"kind": "length", "unit": "words", "maximum": 20},
}
CLEAN = {"name": "clean", "description": "No insult.", "check": {"kind": "words", "none_of": ["duh"]}}
KIND = {"name": "kind", "description": "Kind; a judge reads this one."}
CHECKS = {"kind": "checks"}
ENDPOINT = {"kind": "openai", "family": "gpt", "base_url": "https://api.example.com/v1", "model": "large"}
MESSAGES = {"kind": "anthropic", "family": "claude", "base_url": "https://api.example.com/v1", "model": "large"}
REWARD = {"kind": "reward_model", "family": "qwen", "checkpoint": "checkpoint_1"}
STORED = {"kind": "replay", "family": "gpt", "answers": "answers_1"}
LOCAL = {"kind": "local", "family": "qwen", "model": "model_1"}
WEIGHTS = {"model_1": "a" * 64, "model_1_again": "a" * 64, "model_2": "b" * 64} | {
    "checkpoint_1": "c" * 64,
    "checkpoint_2": "d" * 64,
    "answers_1": "e" * 64,
    "answers_again": "e" * 64,
    "answers_2": "f" * 64,
}


def judge(spec: dict[str, Any]) -> Judge:
    return Judge(name="j", spec=SPEC.validate_python(spec).model_dump(mode="json"))


def rubric(*criteria: dict[str, Any]) -> RubricRevision:
    return RubricRevision(content=Rubric.model_validate({"criteria": criteria}).model_dump(mode="json"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (CHECKS, CHECKS),
        (CHECKS, {**CHECKS, "sharpness": 1.0, "family": "other"}),
        (CHECKS, {**CHECKS, "criteria": [CLEAN, SHORT]}),
        (ENDPOINT, {**ENDPOINT, "max_concurrency": 1, "temperature": 0.5, "secret": "other"}),
        (ENDPOINT, {**ENDPOINT, "base_url": "https://api.example.com/v1/"}),
        (ENDPOINT, {**ENDPOINT, "base_url": "http://api.example.com:80/v1"}),
        (ENDPOINT, {**ENDPOINT, "base_url": "https://API.example.com.:8443/v1"}),
        (LOCAL, {**LOCAL, "batch_size": 1}),
        (LOCAL, {**LOCAL, "model": "model_1_again", "family": "llama"}),
        (ENDPOINT, MESSAGES),
        (REWARD, {**REWARD, "batch_size": 1}),
        (STORED, {**STORED, "answers": "answers_again"}),
    ],
)
def test_the_same_instrument(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert is_circular([judge(first)], [judge(second)], rubric(SHORT, CLEAN, KIND), weights=WEIGHTS)
    assert is_circular([judge(second)], [judge(first)], rubric(SHORT, CLEAN, KIND), weights=WEIGHTS)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (CHECKS, {**CHECKS, "criteria": [SHORT]}),
        (CHECKS, ENDPOINT),
        (ENDPOINT, LOCAL),
        (ENDPOINT, {**ENDPOINT, "model": "small"}),
        (ENDPOINT, {**ENDPOINT, "base_url": "https://api.example.org/v1"}),
        (ENDPOINT, {**ENDPOINT, "base_url": "https://api.example.com/other/v1"}),
        (LOCAL, {**LOCAL, "model": "model_2"}),
        (MESSAGES, {**MESSAGES, "model": "small"}),
        (REWARD, {**REWARD, "checkpoint": "checkpoint_2"}),
        (REWARD, LOCAL),
        (STORED, {**STORED, "answers": "answers_2"}),
    ],
)
def test_another_instrument(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert not is_circular([judge(first)], [judge(second)], rubric(SHORT, CLEAN, KIND), weights=WEIGHTS)
