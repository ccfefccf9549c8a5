"""The JSON in docs/judges.md is what the API takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from app.rlaif.stored_answers import StoredAnswer
from app.schemas.judge import JudgeIn

GUIDE = Path(__file__).parents[2] / "docs" / "judges.md"
BLOCKS = re.findall(r"```json\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_its_judges_can_be_registered() -> None:
    judges = [JudgeIn.model_validate_json(block) for block in BLOCKS if '"spec"' in block]
    assert {judge.spec.kind for judge in judges} >= {"openai", "anthropic"}


def test_its_stored_answers_can_be_uploaded() -> None:
    lines = [line for block in BLOCKS if '"answer"' in block and '"spec"' not in block for line in block.splitlines()]
    answers = [StoredAnswer.model_validate(json.loads(line)) for line in lines]
    assert len({answer.key for answer in answers}) == len(answers) == 3
