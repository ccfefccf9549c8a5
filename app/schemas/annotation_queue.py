"""Annotation queues, their items and what is put into them, as clients send and see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.db.models import ItemState, Purpose
from app.repositories.annotation_queues import CountedQueue
from app.rlaif.annotation import SettleRule
from app.rlaif.comparison import Answer
from app.rlaif.messages import Content
from app.rlaif.routing import RoutingReason, Share
from app.schemas.names import ResourceName

PartId = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class QueueIn(BaseModel):
    """A new annotation queue."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"name": "hard", "rubric": "rubric_01m7xk5mgzeyva4mageqj2tqtk", "annotators_per_item": 3}]
        },
    )

    name: ResourceName = Field(description="Unique within the project")
    rubric: PartId = Field(description="What people answer by: a rubric (its newest revision) or a revision")
    annotators_per_item: Annotated[int, Field(strict=True, ge=1, le=25)] = Field(1, description="How many people each")
    claim_ttl_s: Annotated[int, Field(strict=True, ge=1, le=604_800)] = Field(
        900, description="Seconds until a claimed item that was not answered goes to somebody else"
    )
    settle_rule: SettleRule = Field(
        SettleRule.MAJORITY,
        description="What settles an item without an adjudicator: more than half of the answers, or all of them",
    )
    instructions: Content = Field("", description="What people are told beside the rubric")


class QueueOut(BaseModel):
    """An annotation queue and how far it is."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["queue_01m7xk5mgzeyva4mageqj2tqtk"])
    name: str = Field(examples=["hard cases"])
    rubric_revision_id: str = Field(examples=["revision_01m7xk5mgzeyva4mageqj2tqtk"])
    annotators_per_item: int = Field(examples=[3])
    claim_ttl_s: int = Field(examples=[900])
    settle_rule: SettleRule
    instructions: str
    items: dict[ItemState, int] = Field(description="Items in each state", examples=[{"open": 20, "done": 30}])
    created_at: datetime

    @classmethod
    def of(cls, counted: CountedQueue) -> Self:
        queue = counted.queue
        return cls(
            id=queue.id,
            name=queue.name,
            rubric_revision_id=queue.rubric_revision_id,
            annotators_per_item=queue.annotators_per_item,
            claim_ttl_s=queue.claim_ttl_s,
            settle_rule=queue.settle_rule,
            instructions=queue.instructions,
            items=dict(counted.items),
            created_at=queue.created_at,
        )


class ShareIn(BaseModel):
    """How much of what is routed has one reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: RoutingReason = Field(
        description="`awaits_people`: a cascade put it aside; `low_margin`: the judges say least; `disagreement`: they "
        "lean different ways; `inconsistent`: a judge's two orders lean different ways; `random`: any"
    )
    share: Annotated[float, Field(strict=True, gt=0, le=1_000_000)] = Field(1.0, description="Relative to their sum")

    def share_of(self) -> Share:
        return Share(self.reason, self.share)


class RouteIn(BaseModel):
    """Which comparisons of a run people are asked about."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "run": "run_01m7xk5mgzeyva4mageqj2tqtk",
                    "limit": 100,
                    "by": [{"reason": "low_margin", "share": 0.8}, {"reason": "random", "share": 0.2}],
                }
            ]
        },
    )

    run: PartId = Field(description="The run whose verdicts choose; it is judged by the queue's rubric revision")
    limit: Annotated[int, Field(strict=True, ge=1, le=100_000)] = Field(description="At most so many comparisons")
    by: Annotated[tuple[ShareIn, ...], Field(min_length=1, max_length=5)] = (ShareIn(reason=RoutingReason.LOW_MARGIN),)
    purposes: Annotated[tuple[Purpose, ...], Field(min_length=1, max_length=3)] = Field(
        (Purpose.TRAIN,), description="Which of the run's comparisons are chosen from"
    )
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = Field(
        0, description="Draws the random ones, and decides between equals"
    )


class RoutedOut(BaseModel):
    """What was put into a queue: less than the limit where the run has too few comparisons that the queue lacks."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="The queue", examples=["queue_01m7xk5mgzeyva4mageqj2tqtk"])
    routed: int = Field(examples=[100])
    by_reason: dict[str, int] = Field(examples=[{"low_margin": 80, "random": 20}])


class ItemOut(BaseModel):
    """What people are asked: a run's comparison, or the content that labels were imported with."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["item_01m7xk5mgzeyva4mageqj2tqtk"])
    queue_id: str = Field(examples=["queue_01m7xk5mgzeyva4mageqj2tqtk"])
    comparison_id: str | None = Field(examples=["comparison_01m7xk5mgzeyva4mageqj2tqtk"])
    content: dict[str, Any] | None = Field(description="A prompt with two candidates; null for a comparison")
    reason: RoutingReason | None = Field(description="Why it was routed; null where labels were imported")
    priority: float = Field(description="The highest is asked first", examples=[0.97])
    state: ItemState
    answer: Answer | None = Field(description="What people settled on; A: the first is better", examples=["A"])
    created_at: datetime


class SnapshotIn(BaseModel):
    """A new labelled prompt set of what a queue has settled."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [{"name": "hard, may"}]})

    name: ResourceName = Field(description="Name of the prompt set, unique within the project")
