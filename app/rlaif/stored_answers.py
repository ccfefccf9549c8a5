"""Answers that a judge gave before, one a line: for audits, imports and tests. What they answer is their key.

A line may be an exported verdict: its fields have the same names, in the comparison's own numbering.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.pairwise import PairQuestion
from app.rlaif.replies import PresentedAnswer

ANSWERS_FILE = "answers.jsonl"
"""The file of an answer set, under its key in the store."""
_VOTES = {Answer.A: 1.0, Answer.TIE: 0.5, Answer.B: 0.0}
_ABOUT_THE_CALL = frozenset(
    (
        *("id", "run_id", "purpose", "judge_id", "created_at", "scores", "notes", "weight"),
        *("prompt_tokens", "completion_tokens", "cost_usd", "latency_s", "attempts", "cached", "saved_usd"),
    )
)
"""An exported verdict's fields that say nothing of its answer."""
_Place = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class StoredAnswer(BaseModel):
    """One answer. With a `prompt_hash` it answers that very prompt; with `prompt_id`, `first` and `second` two of a
    prompt's own candidates, by their places; else its comparison. Without `probability` it is a vote."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {"prompt_id": "kites-1", "first": 0, "second": 1, "order": "AB", "answer": "A", "probability": 0.9},
                {"prompt_id": "kites-1", "first": 0, "second": 1, "order": "BA", "answer": "TIE"},
            ]
        },
    )

    order: Order = Field(description="Which of the two was shown first: AB the first, BA the second")
    answer: Answer = Field(description="A: the first is better, whatever the order")
    prompt_id: _Text | None = Field(None, description="The prompt's own id in its set")
    first: _Place | None = Field(None, description="Place of the first among the prompt's candidates, from 0")
    second: _Place | None = None
    comparison_id: _Text | None = None
    prompt_hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    repeat: Annotated[int, Field(strict=True, ge=0, lt=1000)] = 0
    criterion: Annotated[str, StringConstraints(max_length=100)] = Field(
        "", description="Which criterion was judged alone; empty for the whole rubric"
    )
    probability: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] | None = Field(
        None, description="P(the first is better)"
    )
    invalid_reason: InvalidReason | None = Field(None, description="Why there is no answer; of INVALID ones alone")
    raw_text: Annotated[str, StringConstraints(max_length=20_000)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_an_export(cls, row: Any) -> Any:
        if not isinstance(row, dict):
            return row
        return {name: value for name, value in row.items() if name not in _ABOUT_THE_CALL}

    @model_validator(mode="after")
    def _says_what_it_answers(self) -> Self:
        candidates = (self.prompt_id, self.first, self.second)
        if None in candidates and candidates != (None, None, None):
            raise ValueError("prompt_id, first and second come together")
        if self.first is not None and self.first == self.second:
            raise ValueError(f"first and second are the same candidate, {self.first}")
        if self.prompt_hash is None and self.comparison_id is None and self.prompt_id is None:
            raise ValueError("say what is answered: prompt_id, first and second, or prompt_hash, or comparison_id")
        self.presented()
        return self

    @property
    def key(self) -> str:
        """What it answers, and equal for two lines that answer the same."""
        if self.prompt_hash is not None:
            return _by_prompt(self.prompt_hash, self.repeat)
        if self.prompt_id is None or self.first is None or self.second is None:
            return _by_comparison(self.comparison_id or "", self.order, self._part)
        shown = (self.first, self.second) if self.order is Order.AB else (self.second, self.first)
        return _by_candidates(self.prompt_id, shown, self._part)

    @property
    def _part(self) -> str:
        return _part(self.repeat, self.criterion)

    def presented(self) -> PresentedAnswer:
        """The answer about what was shown first. Raises ValueError for an INVALID one without a reason."""
        probability = _VOTES.get(self.answer) if self.probability is None else self.probability
        return PresentedAnswer(self.answer, probability, self.invalid_reason).in_own_numbering(self.order)


def keys_of(question: PairQuestion, *, asked: str) -> tuple[str, ...]:
    """Under which keys an answer to the question may be stored; `asked` is its prompt's hash."""
    part = _part(question.repeat, question.criterion)
    keys = (_by_prompt(asked, question.repeat), _by_comparison(question.comparison_id, question.order, part))
    one, other = (response.candidate for response in question.shown)
    if one is None or other is None:
        return keys
    return (*keys, _by_candidates(question.case.prompt_id, (one, other), part))


def _by_prompt(prompt_hash: str, repeat: int) -> str:
    return f"prompt {repeat} {prompt_hash}"


def _by_comparison(comparison_id: str, order: Order, part: str) -> str:
    return f"comparison {part} {order} {comparison_id}"


def _by_candidates(prompt_id: str, shown: tuple[int, int], part: str) -> str:
    """By the two candidates in the order in which they are shown: which of them counts as the first says nothing."""
    return f"candidates {part} {shown[0]} {shown[1]} {prompt_id}"


def _part(repeat: int, criterion: str) -> str:
    return f"{repeat} {criterion!r}"
