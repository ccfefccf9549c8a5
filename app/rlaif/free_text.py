"""A prompt put to an endpoint to be answered, by the same road as questions to a judge."""

from __future__ import annotations

from dataclasses import dataclass

from app.rlaif.comparison import InvalidReason, Order
from app.rlaif.questions import AnswerFormat, TextAnswer, Unit
from app.rlaif.rendering import ChatMessages
from app.rlaif.replies import Reply


@dataclass(frozen=True, slots=True)
class FreeText:
    """`key` names the completion that the answer becomes, of at most `room` tokens."""

    key: str
    chat: ChatMessages
    room: int

    @property
    def unit(self) -> Unit:
        return Unit(self.key, Order.AB, 0)

    @property
    def units(self) -> tuple[Unit, ...]:
        return (self.unit,)

    @property
    def format(self) -> AnswerFormat:
        return AnswerFormat((), "", room=self.room, alternatives=0)

    def messages(self) -> ChatMessages:
        return self.chat

    def read(self, reply: Reply) -> tuple[TextAnswer, ...]:
        """What was written is the answer, a refusal too; only where nothing was there is none."""
        if not reply.text.strip():
            return self.unanswered(reply.missing())
        return (TextAnswer(self.unit, reply.text, reply.finish),)

    def unanswered(self, reason: InvalidReason) -> tuple[TextAnswer, ...]:
        return (TextAnswer(self.unit, None, None, reason),)
