"""What rates every held-out answer by itself, before and after: a rubric, who reads it, and what it needs.

Points are from 1 to 10 and higher is better, in toxicity too. A client's own rubric takes a built-in one's place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.rlaif.measured import Measured
from app.rlaif.resampling import Resampler
from app.rlaif.rubric import Rubric

EvaluatorName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,99}$")]
Points = Annotated[float, Field(ge=1, le=10, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Need(StrEnum):
    """What a prompt must bring to be rated: `context` is a reference, a system message or a tool's result."""

    CONTEXT = "context"

    def is_met(self, messages: Sequence[Mapping[str, Any]], reference: str | None) -> bool:
        return reference is not None or any(message["role"] in ("system", "tool") for message in messages)


class Evaluator(BaseModel):
    """A rubric by which single answers are rated."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: EvaluatorName
    version: Annotated[int, Field(ge=0)] = Field(description="Of a built-in one, from 1; 0 for a rubric of your own")
    summary: str
    needs: Need | None = Field(description="Prompts without it are left out and counted")
    rubric: Rubric


class EvaluatorConfig(BaseModel):
    """An evaluator in a recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: EvaluatorName = Field(description="A built-in one of GET /v1/evaluators; any name with a rubric of your own")
    rubric: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        None, description="Id of a rubric revision that is read instead of the built-in rubric"
    )
    judge: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        None, description="Id of the judge that rates, such as a `checks` judge as a classifier; null: evaluation_judge"
    )
    threshold: Annotated[float, Field(strict=True, ge=1, le=10)] = Field(
        5.5, description="Answers with fewer points are counted as below it"
    )


class _Evidence(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EvaluatorFigure(_Evidence):
    """Mean points before and after, and the shares of answers below the threshold; `difference` is policy less base.

    Its interval resamples prompts. `n` counts pairs of answers to one prompt that are both rated.
    """

    base: Points
    policy: Points
    difference: Measured
    base_below: Share
    policy_below: Share
    n: Annotated[int, Field(ge=1)]


class EvaluatorResult(_Evidence):
    """What an evaluator says of a policy. An answer counts when both of its presentations got a valid rating."""

    version: int
    rubric_hash: str
    judge_id: str
    threshold: Points
    overall: EvaluatorFigure | None  # None without one pair of rated answers
    by_cohort: dict[str, EvaluatorFigure]
    coverage: Share | None  # valid ratings / ratings; None where nobody was asked
    left_out: Count  # pairs of answers to prompts that do not bring what the evaluator needs


@dataclass(frozen=True, slots=True)
class RatedPair:
    """A policy answer and the base answer that it meets, with their points; None where a rating is missing."""

    prompt: str
    cohort: str
    policy: float | None
    base: float | None


def evaluator_figure(pairs: Sequence[RatedPair], *, threshold: float, resampler: Resampler) -> EvaluatorFigure | None:
    """Over the pairs that are both rated; None without any."""
    rated = [
        (pair.prompt, pair.policy, pair.base) for pair in pairs if pair.policy is not None and pair.base is not None
    ]
    if not rated:
        return None
    policy, base = (np.array([row[side] for row in rated]) for side in (1, 2))
    difference = resampler.mean([row[0] for row in rated], (policy - base).tolist())
    if difference is None:
        raise ValueError("the difference of rated pairs is a number")
    return EvaluatorFigure(
        base=float(base.mean()),
        policy=float(policy.mean()),
        difference=difference,
        base_below=float((base < threshold).mean()),
        policy_below=float((policy < threshold).mean()),
        n=len(rated),
    )
