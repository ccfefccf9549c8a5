"""What both judges of the demo have in common: a completion's score by a rubric's checks and its prompt's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.rlaif.checks import score_completion
from app.rlaif.rubric import Criterion, Rubric


def read_prompts(path: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in map(json.loads, path.read_text().splitlines())}


def read_completions(path: Path) -> dict[str, list[str]]:
    return {row["id"]: row["completions"] for row in map(json.loads, path.read_text().splitlines())}


def rubric_of(criteria: list[dict[str, Any]]) -> Rubric:
    return Rubric(criteria=tuple(map(Criterion.model_validate, criteria)))


def score(rubric: Rubric, prompt: Mapping[str, Any], completion: str) -> float:
    asked = prompt["messages"][-1]["content"]
    return score_completion(rubric, completion, prompt=asked, reference=prompt.get("reference")).total
