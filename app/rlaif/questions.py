"""What every question put to a judge is: messages, the form of the answer, and a reader of the reply. Pure.

A judge only carries: it puts `messages` to whoever answers and gives the reply back to the question that it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.rendering import ChatMessages
from app.rlaif.replies import Finish, Reply


class AnswerStyle(StrEnum):
    """How a judge is asked to put its answer: the bare label or number, or JSON that its endpoint holds to a schema.

    `option` is for judges that write nothing: their answer is read off the probabilities of the options.
    """

    OPTION = "option"
    LABEL = "label"
    JSON_SCHEMA = "json_schema"


class Unit(NamedTuple):
    """What one stored answer is about: a comparison, or for ratings a completion. `criterion` is '' for the whole."""

    subject_id: str
    order: Order
    repeat: int
    criterion: str = ""


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """What a reply must look like; `demand` says so to the judge.

    `options` are the texts one of which is the whole answer, read off the next token's log-probabilities by judges
    that see them; `room` is how many tokens a reply needs at least, `alternatives` for how many of each the
    log-probabilities are worth having. `schema` is that of a JSON reply; None where the bare option is the reply.
    """

    options: tuple[str, ...]
    demand: str
    room: int = 1
    alternatives: int = 20
    schema: Mapping[str, Any] | None = None


class Side(StrEnum):
    """Of which of a comparison's completions a note speaks."""

    FIRST = "first"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class Note:
    """What a judge remarked of one turn; turns count from 1."""

    side: Side
    turn: int
    note: str


@dataclass(frozen=True, slots=True)
class PairAnswer:
    """An answer to one comparison in one order, in the comparison's own numbering.

    `probability` is P(first is better), `reason` says why there is none. `weight` is what the unit's criterion counts
    in the whole. `scores` are by criterion (first, second), from judges that score.
    """

    unit: Unit
    answer: Answer
    probability: float | None
    reason: InvalidReason | None = None
    weight: float = 1.0
    scores: Mapping[str, tuple[float, float]] | None = None
    notes: tuple[Note, ...] | None = None


@dataclass(frozen=True, slots=True)
class PointsAnswer:
    """A rating of one completion, from 1 to 10; `reason` says why there is none."""

    unit: Unit
    points: float | None
    reason: InvalidReason | None = None


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """What an endpoint wrote to a prompt; `reason` says why there is nothing."""

    unit: Unit
    text: str | None
    finish: Finish | None
    reason: InvalidReason | None = None


Answers = Sequence[PairAnswer] | Sequence[PointsAnswer] | Sequence[TextAnswer]


class Question(Protocol):
    """What is put to a judge once. One reply may answer several units: all of them are stored, or none."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """What it answers."""
        ...

    @property
    def format(self) -> AnswerFormat: ...

    def messages(self) -> ChatMessages:
        """The messages that put the question to a model."""
        ...

    def read(self, reply: Reply) -> Answers:
        """What a complete reply says; INVALID with its reason where it says nothing plainly."""
        ...

    def unanswered(self, reason: InvalidReason) -> Answers:
        """INVALID for all that was asked."""
        ...


def asked_again(question: Question, messages: ChatMessages, reply: Reply) -> ChatMessages:
    """The same question once more, after a reply that could not be read: the reply, and what it should have been."""
    said = {"role": "assistant", "content": reply.text or "(nothing)"}
    return (*messages, said, {"role": "user", "content": f"This cannot be read as an answer. {question.format.demand}"})


def unreadable(answers: Answers) -> bool:
    """Whether a reply said something, and nothing that could be read."""
    return any(answer.reason is InvalidReason.PARSE for answer in answers)
