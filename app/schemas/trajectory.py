"""Trajectory evaluations as clients send and see them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.rlaif.recipe import Budget
from app.rlaif.trajectories import THRESHOLD, Threshold
from app.rlaif.trajectory_evidence import TrajectoryMetrics
from app.schemas.names import ResourceName
from app.schemas.run import PartId

EXAMPLE_TRAJECTORIES: dict[str, JsonValue] = {
    "name": "booking agents",
    "prompt_set": "pset_01m7xk5mgzeyva4mageqj2tqtk",
    "judge": "judge_01m7xk5mgzeyva4mageqj2tqtk",
}


class TrajectoriesIn(BaseModel):
    """The candidates of a prompt set, several trials a task, are to be judged by themselves; nothing is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [EXAMPLE_TRAJECTORIES]})

    name: ResourceName = Field(description="Of the run that measures")
    prompt_set: PartId = Field(
        description="Its prompts are the tasks, of both splits; `candidates` are the trials, `authors` says whose each "
        "one is, `outcomes` whether it is known to have succeeded"
    )
    judge: PartId = Field(description="Id of the judge, one that rates single answers")
    rubric: PartId | None = Field(
        None, description="A rubric (its newest revision) or a revision; null: the built-in evaluator task_completion"
    )
    threshold: Threshold = Field(
        THRESHOLD, description="A trajectory is a success when the mean of both ratings, 1 to 10, is at least this"
    )
    minimum_coverage: Annotated[float, Field(strict=True, ge=0, le=1)] = Field(
        0.9, description="Least share of valid ratings; below it the run fails"
    )
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    budget: Budget = Field(Budget(), description="What it may cost; reached, it pauses")


class TrajectorySuccessOut(BaseModel):
    """How often and how reliably the trajectories of a run's prompt set succeed."""

    model_config = ConfigDict(frozen=True)

    run_id: str = Field(examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
    metrics: TrajectoryMetrics | None = Field(description="Null until the run has measured")


class TrajectoryOut(BaseModel):
    """One trajectory and what was found of it."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    completion_id: str = Field(examples=["completion_01m7xk5mgzeyva4mageqj2tqtk"])
    prompt_id: str = Field(examples=["prompt_01m7xk5mgzeyva4mageqj2tqtk"])
    external_id: str = Field(description="The author's own id of the prompt", examples=["kites-1"])
    cohort: str = Field(examples=["booking"])
    position: int = Field(description="Its place among the prompt's candidates, from 0", examples=[0])
    author: str | None = Field(description="As the prompt's `authors` name it", examples=["agent-2"])
    points: float | None = Field(description="The mean of both ratings; null where one is missing", examples=[8.2])
    succeeded: bool | None = Field(description="Whether these reach the threshold", examples=[True])
    known: bool | None = Field(description="As the prompt's `outcomes` say", examples=[None])
