"""Capability tasks as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.db.models import Task
from app.rlaif.task import MOST_DOCUMENTS, Document, TaskConfig
from app.schemas.names import ResourceName

EXAMPLE_CONFIG: dict[str, JsonValue] = {
    "task": "weather",
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_choice": "choices",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}
EXAMPLE_DOCUMENT: dict[str, JsonValue] = {
    "question": "What falls from clouds?",
    "choices": ["rain", "stones"],
    "answer": 0,
}


class TaskIn(BaseModel):
    """A new task small enough for one request. Larger ones are uploaded as JSONL."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"config": EXAMPLE_CONFIG, "documents": [EXAMPLE_DOCUMENT]}]},
    )

    name: ResourceName | None = Field(None, description="Unique within the project; `config.task` if absent")
    config: TaskConfig = Field(description="In the lm-evaluation-harness format")
    documents: Annotated[tuple[Document, ...], Field(min_length=1, max_length=MOST_DOCUMENTS)]


class TaskOut(BaseModel):
    """A task without its documents."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["task_01m7xk5mgzeyva4mageqj2tqtk"])
    name: str = Field(examples=["weather"])
    config: TaskConfig = Field(examples=[EXAMPLE_CONFIG])
    document_count: int = Field(examples=[120])
    digest: str = Field(description="SHA-256 of config and documents: equal content, equal digest, equal figures")
    created_at: datetime

    @classmethod
    def of(cls, row: Task) -> Self:
        return cls(
            id=row.id,
            name=row.name,
            config=TaskConfig.model_validate(row.config),
            document_count=row.document_count,
            digest=row.digest,
            created_at=row.created_at,
        )


class TaskDocumentOut(BaseModel):
    """A document as it was sent, and as it is asked."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    position: int = Field(description="Counts from 0", examples=[0])
    document: dict[str, Any] = Field(examples=[EXAMPLE_DOCUMENT])
    system: str = Field(description="The description: before the context, or a chat's system message", examples=[""])
    context: str = Field(
        description="What the model reads, examples first", examples=["Question: What falls from clouds?\nAnswer:"]
    )
    choices: list[str] = Field(examples=[["rain", "stones"]])
    gold: list[int] = Field(description="Places of the right choices, from 0", examples=[[0]])
    targets: list[str] = Field(description="Right texts, where there are no choices", examples=[[]])


class TaskOutcomeOut(BaseModel):
    """What one model's answer to one document scored."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    position: int = Field(description="Of the document, from 0", examples=[0])
    model_digest: str
    text: str | None = Field(description="What the model wrote; null where it only read", examples=[None])
    logprobs: list[float] = Field(description="Of each choice, or of the target, in nats", examples=[[-1.5, -9.25]])
    scores: dict[str, float] = Field(
        description="By figure; of perplexity the log-probability", examples=[{"acc": 1.0, "acc_norm": 1.0}]
    )
