"""What every question put to a judge is: messages, the form of the answer, and a reader of the reply. Pure.

A judge only carries: it puts `messages` to whoever answers and gives the reply back to the question that it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.rendering import ChatMessages
from app.rlaif.replies import Reply


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """What a reply must look like.

    `options` are the texts one of which is the whole answer, read off the next token's log-probabilities by judges
    that see them; `room` is how many tokens a reply needs at least. `schema` is that of a JSON reply; None where the
    bare option is the reply.
    """

    options: tuple[str, ...]
    room: int = 1
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PairAnswer:
    """An answer to one comparison in one order, in the comparison's own numbering.

    `criterion` is what was judged alone; empty for the whole rubric. `probability` is P(first is better), `reason` says
    why there is none. `scores` are by criterion (first, second), from judges that score.
    """

    comparison_id: str
    order: Order
    repeat: int
    answer: Answer
    probability: float | None
    reason: InvalidReason | None = None
    criterion: str = ""
    scores: Mapping[str, tuple[float, float]] | None = None


class Question(Protocol):
    """What is put to a judge once. One reply may answer several comparisons: all of them are stored, or none."""

    @property
    def format(self) -> AnswerFormat: ...

    def messages(self) -> ChatMessages:
        """The messages that put the question to a model."""
        ...

    def read(self, reply: Reply) -> tuple[PairAnswer, ...]:
        """What a complete reply says; INVALID with its reason where it says nothing plainly."""
        ...

    def unanswered(self, reason: InvalidReason) -> tuple[PairAnswer, ...]:
        """INVALID for all that was asked."""
        ...
