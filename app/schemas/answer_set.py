"""Answer sets as clients see them."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from app.db.models import AnswerSet
from app.rlaif.comparison import Answer


class AnswerSetOut(BaseModel):
    """A set of stored answers, without the answers."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["answers_01m7xk5mgzeyva4mageqj2tqtk"])
    name: str = Field(examples=["gpt-4-on-llmbar"])
    answer_count: int = Field(examples=[838])
    by_answer: dict[Answer, int] = Field(
        description="How many there are of each answer", examples=[{"A": 410, "B": 421, "TIE": 0, "INVALID": 7}]
    )
    digest: str = Field(description="SHA-256 over the answers in their order: equal content, equal digest")
    created_at: datetime

    @classmethod
    def of(cls, row: AnswerSet) -> Self:
        return cls(
            id=row.id,
            name=row.name,
            answer_count=row.answer_count,
            by_answer={Answer(answer): count for answer, count in row.by_answer.items()},
            digest=row.digest,
            created_at=row.created_at,
        )
