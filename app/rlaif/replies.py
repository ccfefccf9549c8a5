"""A judge's reply, whoever carried it, and the label that it states.

The labels are single letters, A, B and C for a tie, because most tokenizers hold them as one token: a reply costs one
token and its log-probabilities are the soft label. What a reply does not say plainly is INVALID, never a guess.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from app.rlaif.comparison import Answer, InvalidReason, Order

LABELS = {"A": Answer.A, "B": Answer.B, "C": Answer.TIE}
_VOTES = {Answer.A: 1.0, Answer.B: 0.0, Answer.TIE: 0.5}
_ANSWER = re.compile(r"""(?:(?:final )?(?:answer|verdict)\s*:?\s*)?[\s\[("'*`]*(A|B|C|TIE)[\s\])"'*`.]*""")
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able)|i (?:can ?not|can't|won't|must decline)|as an ai\b)", re.IGNORECASE
)


class Finish(StrEnum):
    """Why a reply ended where it ends."""

    STOP = "stop"
    LENGTH = "length"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ReplyToken:
    """One token of a reply, with the log-probabilities of what could have stood in its place."""

    text: str
    alternatives: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete reply. `tokens` is empty where the judge gives no log-probabilities."""

    text: str
    finish: Finish = Finish.STOP
    tokens: tuple[ReplyToken, ...] = ()

    @property
    def stated(self) -> str:
        """The reply without a reasoning model's visible thoughts, which go up to `</think>`."""
        return self.text.rpartition("</think>")[2].strip()

    def missing(self) -> InvalidReason:
        """Why a reply that does not parse is no answer."""
        if self.finish is Finish.REFUSED or _REFUSAL.search(self.text):
            return InvalidReason.REFUSAL
        return InvalidReason.TRUNCATED if self.finish is Finish.LENGTH else InvalidReason.PARSE


@dataclass(frozen=True, slots=True)
class PresentedAnswer:
    """A judge's answer in the order in which it saw the two responses.

    `probability` is P(the response shown first is better), `reason` says why there is none; exactly one is None.
    """

    answer: Answer
    probability: float | None
    reason: InvalidReason | None = None

    def __post_init__(self) -> None:
        missing = self.answer is Answer.INVALID
        if (self.probability is None) is not missing or (self.reason is not None) is not missing:
            raise ValueError(f"{self.answer} with probability {self.probability} and reason {self.reason}")

    def in_own_numbering(self, order: Order) -> PresentedAnswer:
        """The same answer about the comparison's own first and second completion."""
        if order is Order.AB or self.probability is None:
            return self
        return PresentedAnswer(self.answer.swap(), 1.0 - self.probability)


def invalid(reason: InvalidReason) -> PresentedAnswer:
    return PresentedAnswer(Answer.INVALID, None, reason)


def parse_answer(text: str) -> Answer:
    """The answer that a text states, in presented order; INVALID unless the text is one label and no more."""
    match = _ANSWER.fullmatch(text)
    if match is None:
        return Answer.INVALID
    return LABELS.get(match.group(1), Answer.TIE)


def read_label(reply: Reply) -> PresentedAnswer:
    """What a reply that should be one label says.

    A reply that stopped at the token limit counts if it is one label all the same: with a limit of one token every
    reply ends so. A stated tie is 0.5, whatever the alternatives lean to: a tie never becomes a preference.
    """
    answer = parse_answer(reply.stated)
    if answer is Answer.INVALID or reply.finish is Finish.REFUSED:
        return invalid(reply.missing())
    return labelled(answer, reply.tokens)


def labelled(answer: Answer, tokens: Sequence[ReplyToken]) -> PresentedAnswer:
    """A stated answer with the soft label that its token's alternatives give; without them it is a vote."""
    place = None if answer is Answer.TIE else answer_place([token.text for token in tokens])
    soft = None if place is None else soft_label(tokens[place].alternatives)
    if soft is None:
        return PresentedAnswer(answer, _VOTES[answer])
    return PresentedAnswer(Answer.TIE if soft == 0.5 else answer, soft)


def soft_label(alternatives: Mapping[str, float]) -> float | None:
    """P(first shown is better): the softmax of the labels' log-probabilities, a tie's mass split in two.

    Tokens that are the same label but for white space and quotes are added up. None when neither A nor B is among them.
    """
    found = [(bare(token), value) for token, value in alternatives.items() if bare(token) in LABELS]
    if not any(label in ("A", "B") for label, _ in found):
        return None
    top = max(value for _, value in found)
    mass = dict.fromkeys(LABELS, 0.0)
    for label, value in found:
        mass[label] += math.exp(value - top)
    return (mass["A"] + mass["C"] / 2) / math.fsum(mass.values())


def answer_place(tokens: Sequence[str]) -> int | None:
    """The index of the reply's token that is the label: the last that is a label and no more."""
    return next((place for place in reversed(range(len(tokens))) if bare(tokens[place]) in LABELS), None)


def bare(token: str) -> str:
    """A token without the white space and the quotes that some tokenizers keep with it."""
    return token.strip().strip('"')
