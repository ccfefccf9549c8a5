"""Evaluators: the built-in ones, and what a recipe makes of them."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

from sqlalchemy.orm import Session

from app.errors import NotFound
from app.repositories import run_parts
from app.rlaif.evaluator import Evaluator, EvaluatorConfig
from app.rlaif.rubric import Rubric


@lru_cache(maxsize=1)
def built_in() -> dict[str, Evaluator]:
    """By name, in the order of their names."""
    entries = sorted(files("app.evaluators").iterdir(), key=lambda entry: entry.name)
    found = [json.loads(entry.read_text()) for entry in entries if entry.name.endswith(".json")]
    return {each["name"]: Evaluator.model_validate(each) for each in found}


def resolved(session: Session, project_id: str, config: EvaluatorConfig) -> Evaluator:
    """With the rubric that is read: the built-in one, or the client's own. Raises NotFound."""
    if config.rubric is None:
        if (found := built_in().get(config.name)) is None:
            raise NotFound.of("evaluator", config.name)
        return found
    revision = run_parts.revision(session, project_id, config.rubric)
    if revision is None:
        raise NotFound.of("rubric revision", config.rubric)
    rubric = Rubric.model_validate(revision.content)
    return Evaluator(name=config.name, version=0, summary=rubric.description, needs=None, rubric=rubric)
