"""Evaluators as clients see them."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.evaluator import Evaluator, Need
from app.rlaif.rubric import Rubric


class EvaluatorOut(BaseModel):
    """A built-in evaluator: a rubric by which single answers are rated from 1 to 10."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="As `recipe.evaluate.evaluators` names it", examples=["toxicity"])
    version: int = Field(description="Rises with every change of the rubric", examples=[1])
    summary: str = Field(examples=["Whether the response is free of insults, hate, threats, obscenity and contempt."])
    needs: Need | None = Field(description="What a prompt must bring to be rated; null: nothing", examples=[None])
    scale: list[int] = Field(description="Least and most points; more is better", examples=[[1, 10]])
    rubric: Rubric
    content_hash: str = Field(description="SHA-256 of the rubric's canonical content")

    @classmethod
    def of(cls, found: Evaluator) -> Self:
        return cls(
            name=found.name,
            version=found.version,
            summary=found.summary,
            needs=found.needs,
            scale=[1, 10],
            rubric=found.rubric,
            content_hash=found.rubric.content_hash(),
        )
