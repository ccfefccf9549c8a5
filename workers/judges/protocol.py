"""What every kind of judge takes and gives. Imports no torch and no client, so a stage may name these types."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.judging import ChatMessages, PresentedAnswer, Turns, render_pairwise
from app.rlaif.rubric import Rubric


@dataclass(frozen=True, slots=True)
class Question:
    """One comparison to judge in one presentation order.

    `first` and `second` are the comparison's own, whatever the order; `rubric` already holds the prompt's own
    criteria. `nonce` must not be known to whoever wrote the completions, and be the same when the question is asked
    again: `app.rlaif.seeds.derive_seed` of the run and the comparison.
    """

    comparison_id: str
    order: Order
    repeat: int
    prompt: Turns
    first: Turns
    second: Turns
    rubric: Rubric
    nonce: str
    reference: str | None = None
    principle: str | None = None
    tools: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """A verdict, ready to be stored: answer and probability are in the comparison's own numbering.

    `raw_text` is the reply, or for an INVALID verdict what went wrong. `scores` are by criterion (first, second),
    from judges that score. `latency_s` is the last call's; `attempts` counts calls.
    """

    comparison_id: str
    order: Order
    repeat: int
    answer: Answer
    probability: float | None
    invalid_reason: InvalidReason | None
    raw_text: str | None = None
    prompt_hash: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    latency_s: float = 0.0
    attempts: int = 1
    scores: dict[str, tuple[float, float]] | None = None


class Judge(Protocol):
    """Answers every question exactly once, in the order in which answers are ready.

    Questions are pulled only as there is room for them, so a stage may pass a lazy stream and store answers as they
    come. When a call raises, what is already in flight is answered first: a paid verdict is never lost.
    """

    def judge(self, questions: Iterable[Question]) -> AsyncGenerator[JudgedAnswer, None]:
        """Raises JudgeMisconfigured, JudgeUnavailable or JudgeBudgetReached."""
        ...

    async def aclose(self) -> None:
        """Gives back connections and memory."""
        ...


class JudgeError(Exception):
    """Base of what ends a judge's work; the questions that were not answered have no verdict, not an INVALID one."""


class JudgeMisconfigured(JudgeError):
    """Raised when no question can be answered until somebody changes the judge: a wrong key, address or model."""


class JudgeUnavailable(JudgeError):
    """Raised when the judge is down: the work should be given back, uncounted.

    `retry_after_s` is when to try again, where the judge has said so.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class JudgeBudgetReached(JudgeError):
    """Raised when the next call would go beyond what the run may spend."""


def verdict_of(question: Question, shown: PresentedAnswer) -> JudgedAnswer:
    """The bare verdict of an answer in presented order, brought back to the comparison's own numbering."""
    own = shown.in_own_numbering(question.order)
    return JudgedAnswer(
        comparison_id=question.comparison_id,
        order=question.order,
        repeat=question.repeat,
        answer=own.answer,
        probability=own.probability,
        invalid_reason=own.reason,
    )


def rendered(question: Question) -> ChatMessages:
    """The messages that put the question to a model."""
    return render_pairwise(
        question.rubric,
        question.prompt,
        question.first,
        question.second,
        order=question.order,
        principle=question.principle,
        reference=question.reference,
        nonce=question.nonce,
        tools=question.tools,
    )
