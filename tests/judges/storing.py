"""Files of stored answers, for replay judges."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from app.rlaif.judges import ChecksJudge
from app.rlaif.questions import Question
from app.rlaif.rendering import prompt_hash
from tests.judges.running import answers
from workers.judges.checks import ProgramJudge


def write(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


async def record_program(file: Path, questions: Iterable[Question]) -> Path:
    """What the checks judge answers to the questions, stored by the prompts that would put them to a model."""
    rows: dict[str, dict[str, Any]] = {}
    for question in questions:
        (given,) = await answers(ProgramJudge(ChecksJudge()), [question])
        asked = prompt_hash(question.messages())
        rows[asked] = {
            "prompt_hash": asked,
            "order": given.order,
            "answer": given.answer,
            "probability": given.probability,
            "raw_text": f"{given.answer}",
        }
    return write(file, rows.values())
