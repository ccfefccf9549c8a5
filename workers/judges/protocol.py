"""What every kind of judge takes and gives. Imports no torch and no client, so a stage may name these types."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.questions import Answers, Note, PairAnswer, PointsAnswer, Question, TextAnswer
from app.rlaif.replies import Finish, Reply
from app.rlaif.reply_keys import Kept

_NANODOLLAR = Decimal("1e-9")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one stored answer took, of the calls of its question.

    `raw_text` is the reply, or for an INVALID answer what went wrong. `latency_s` is the last call's; `attempts` counts
    calls. `cached`: a stored reply gave it, and `saved_usd` is what that reply had cost.
    """

    raw_text: str | None
    prompt_hash: str | None
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal
    latency_s: float
    attempts: int
    cached: bool
    saved_usd: Decimal
    kept: Kept | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedAnswer(Share):
    """A verdict, ready to be stored: answer and probability are in the comparison's own numbering.

    `scores` are by criterion (first, second), from judges that score.
    """

    comparison_id: str
    order: Order
    repeat: int
    criterion: str
    weight: float
    answer: Answer
    probability: float | None
    invalid_reason: InvalidReason | None
    scores: Mapping[str, tuple[float, float]] | None
    notes: Sequence[Note] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedScore(Share):
    """A rating of one completion, ready to be stored."""

    completion_id: str
    order: Order
    repeat: int
    points: float | None
    invalid_reason: InvalidReason | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedText(Share):
    """What an endpoint wrote to a prompt, ready to be stored as the completion that `key` names."""

    key: str
    text: str | None
    finish: Finish | None


@dataclass(frozen=True, slots=True)
class Judged:
    """All answers that one question got, and what asking took: they are stored together or not at all.

    `reply` is what was read; None where there was none to read. `raw_text` is its text, or what went wrong. `kept` is
    the reply as it is stored for whoever asks the same again.
    """

    answers: Answers
    reply: Reply | None = None
    raw_text: str | None = None
    prompt_hash: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    latency_s: float = 0.0
    attempts: int = 1
    cached: bool = False
    saved_usd: Decimal = Decimal(0)
    kept: Kept | None = None

    def verdicts(self) -> list[JudgedAnswer]:
        """One for each comparison. Tokens and cost are split, so that sums stay right; the calls are the first's."""
        return [
            JudgedAnswer(
                comparison_id=answer.unit.subject_id,
                order=answer.unit.order,
                repeat=answer.unit.repeat,
                criterion=answer.unit.criterion,
                weight=answer.weight,
                answer=answer.answer,
                probability=answer.probability,
                invalid_reason=answer.reason,
                scores=answer.scores,
                notes=answer.notes,
                **self._share(place),
            )
            for place, answer in enumerate(self.answers)
            if isinstance(answer, PairAnswer)
        ]

    def scores(self) -> list[JudgedScore]:
        """One for each completion that was rated."""
        return [
            JudgedScore(
                completion_id=answer.unit.subject_id,
                order=answer.unit.order,
                repeat=answer.unit.repeat,
                points=answer.points,
                invalid_reason=answer.reason,
                **self._share(place),
            )
            for place, answer in enumerate(self.answers)
            if isinstance(answer, PointsAnswer)
        ]

    def texts(self) -> list[JudgedText]:
        """One for each prompt that was answered."""
        return [
            JudgedText(key=answer.unit.subject_id, text=answer.text, finish=answer.finish, **self._share(place))
            for place, answer in enumerate(self.answers)
            if isinstance(answer, TextAnswer)
        ]

    def _share(self, place: int) -> dict[str, Any]:
        size = len(self.answers)
        return {
            "raw_text": self.raw_text,
            "prompt_hash": self.prompt_hash,
            "prompt_tokens": _part(self.prompt_tokens, size, place),
            "completion_tokens": _part(self.completion_tokens, size, place),
            "cost_usd": self.cost_usd if size == 1 else _dollars(self.cost_usd, size, place),
            "latency_s": self.latency_s,
            "attempts": self.attempts if place == 0 else 0,
            "cached": self.cached,
            "kept": self.kept if place == 0 else None,
            "saved_usd": self.saved_usd if size == 1 else _dollars(self.saved_usd, size, place),
        }


def _part(whole: int, size: int, place: int) -> int:
    """What falls to one of `size` equals, the first ones taking what is left over."""
    part, left_over = divmod(whole, size)
    return part + (place < left_over)


def _dollars(whole: Decimal, size: int, place: int) -> Decimal:
    """A part in whole units of what the database keeps, the first taking what is left over."""
    part = (whole / size).quantize(_NANODOLLAR)
    return whole - part * (size - 1) if place == 0 else part


class Judge(Protocol):
    """Answers every question exactly once, in the order in which replies are ready.

    Questions are pulled only as there is room for them, so a stage may pass a lazy stream and store answers as they
    come. When a call raises, what is already in flight is answered first: a paid verdict is never lost.
    """

    def judge(self, questions: Iterable[Question]) -> AsyncGenerator[Judged, None]:
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
