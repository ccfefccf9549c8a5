"""Trials as clients send and see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from app.db.models import RunStatus, Score, Verdict
from app.repositories.trials import Trial, TriedAnswer, TriedPair, TriedRating
from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.golden import Expected, JudgedPair
from app.rlaif.golden_outcome import OutcomeKind, summary
from app.rlaif.questions import Side
from app.rlaif.recipe import Budget
from app.rlaif.rendering import ChatMessages
from app.schemas.rubric_review import RevisionRef
from app.schemas.verdict import NoteOut

_OTHER = {Side.FIRST: Side.SECOND, Side.SECOND: Side.FIRST}
JudgeId = Annotated[
    str, StringConstraints(min_length=1, max_length=100), Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
]
EXAMPLE_PAIR: dict[str, JsonValue] = {
    "judge": "judge_01m7xk5mgzeyva4mageqj2tqtk",
    "prompt": "What is salt?",
    "first": "Salt is sodium chloride, a mineral.",
    "second": "No idea.",
}


TrialMode = Annotated[
    Literal["pairwise", "per_criterion", "pointwise"],
    Field(description="How the judge is asked: by the whole rubric, by each criterion alone, or to rate each response"),
]


class TrialIn(JudgedPair):
    """One pair to try a rubric revision and a judge on."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_PAIR]})

    judge: JudgeId
    mode: TrialMode = "pairwise"
    principle: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = Field(
        None, description="Number, counted from 1, of the one principle to judge by; without it one is drawn"
    )
    budget: Budget = Budget()


class GoldenTestIn(BaseModel):
    """Which judge is to pass the golden examples."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"judge": "judge_01m7xk5mgzeyva4mageqj2tqtk", "budget": {"judge_usd": 0.5}}]},
    )

    judge: JudgeId
    mode: TrialMode = "pairwise"
    budget: Budget = Budget()


class AskedOut(BaseModel):
    """What was put to the judge, what it wrote, and what that took."""

    model_config = ConfigDict(frozen=True)

    messages: list[dict[str, str]] | None = Field(
        description="The question as it was put, to the letter; null where a program judged, or where it can no longer "
        "be shown: it is rendered again, and shown only if its hash is `prompt_hash`"
    )
    prompt_hash: str | None = Field(description="SHA-256 of the question, to the letter")
    raw_text: str | None = Field(description="What the judge wrote, or what went wrong", examples=["A"])
    prompt_tokens: int = Field(examples=[338])
    completion_tokens: int = Field(examples=[1])
    cost_usd: float = Field(examples=[0.000017])
    cached: bool = Field(description="Whether an equal question had been answered before, so that nobody was asked")
    latency_s: float = Field(examples=[0.41])
    attempts: int = Field(description="Calls that the answer took", examples=[1])

    @classmethod
    def of(cls, row: Verdict | Score, messages: ChatMessages | None) -> Self:
        return cls(
            messages=None if messages is None else list(messages),
            prompt_hash=row.prompt_hash,
            raw_text=row.raw_text,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            cost_usd=float(row.cost_usd),
            cached=row.cached,
            latency_s=row.latency_s,
            attempts=row.attempts,
        )


class TrialAnswerOut(BaseModel):
    """One answer in one presentation order, in the numbering of the pair as it was sent: A is `first`."""

    model_config = ConfigDict(frozen=True)

    judge_id: str = Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
    order: Order = Field(description="AB: the judge saw `first` first")
    criterion: str = Field(description="What was judged alone; empty for the whole rubric", examples=[""])
    answer: Answer
    probability: float | None = Field(description="P(first is better); null when INVALID", examples=[0.83])
    invalid_reason: InvalidReason | None = Field(examples=[None])
    scores: dict[str, list[float]] | None = Field(
        description="Of first and second by criterion, from judges that score", examples=[None]
    )
    notes: list[NoteOut] | None = Field(description="On single turns of trajectories", examples=[None])
    asked: AskedOut

    @classmethod
    def of(cls, tried: TriedAnswer) -> Self:
        row, own = tried.verdict, tried.own
        return cls(
            judge_id=row.judge_id,
            order=own.order,
            criterion=row.criterion,
            answer=own.answer,
            probability=own.probability,
            invalid_reason=row.invalid_reason,
            scores=_scores(row.scores, swapped=tried.swapped),
            notes=_notes(row.notes, swapped=tried.swapped),
            asked=AskedOut.of(row, tried.messages),
        )


def _notes(notes: list[dict[str, Any]] | None, *, swapped: bool) -> list[NoteOut] | None:
    if notes is None:
        return None
    found = [NoteOut.model_validate(note) for note in notes]
    return [note.model_copy(update={"side": _OTHER[note.side]}) for note in found] if swapped else found


class TrialRatingOut(BaseModel):
    """One rating of one response, from 1 to 10."""

    model_config = ConfigDict(frozen=True)

    judge_id: str = Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
    response: Side = Field(description="Which of the two was rated")
    order: Order = Field(description="BA shows the criteria and the scale the other way round")
    points: float | None = Field(description="Null when INVALID", examples=[7.4])
    invalid_reason: InvalidReason | None = Field(examples=[None])
    asked: AskedOut

    @classmethod
    def of(cls, tried: TriedRating) -> Self:
        row = tried.score
        return cls(
            judge_id=row.judge_id,
            response=tried.side,
            order=row.order,
            points=row.points,
            invalid_reason=row.invalid_reason,
            asked=AskedOut.of(row, tried.messages),
        )


def _scores(scores: dict[str, Any] | None, *, swapped: bool) -> dict[str, list[float]] | None:
    if scores is None:
        return None
    return {name: list(reversed(pair)) if swapped else list(pair) for name, pair in scores.items()}


class GoldenOut(BaseModel):
    """What a golden example expects, and whether the judge passed it."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(examples=["salt"])
    expected: Expected
    outcome: OutcomeKind | None = Field(description="Null until both orders have been answered")
    why: str | None = Field(examples=["B in both orders, expected A"])

    @classmethod
    def of(cls, pair: TriedPair) -> Self | None:
        if pair.golden is None:
            return None
        found = pair.outcome
        return cls(
            name=pair.golden.name,
            expected=pair.golden.expected,
            outcome=found.kind if found else None,
            why=found.why if found else None,
        )


class TrialPairOut(BaseModel):
    """One pair and all answers about it so far."""

    model_config = ConfigDict(frozen=True)

    golden: GoldenOut | None = Field(description="Null for a pair that is no golden example")
    principle: str | None = Field(description="The principle that was put to the judge", examples=[None])
    probability: float | None = Field(
        description="P(first is better) as a run would believe after both orders; null where they do not suffice",
        examples=[0.91],
    )
    answers: list[TrialAnswerOut]
    ratings: list[TrialRatingOut] = Field(description="In mode `pointwise`, where there are no answers")

    @classmethod
    def of(cls, pair: TriedPair) -> Self:
        answers = map(TrialAnswerOut.of, pair.answers)
        return cls(
            golden=GoldenOut.of(pair),
            principle=pair.principle,
            probability=pair.probability,
            answers=sorted(answers, key=lambda answer: (answer.judge_id, answer.order, answer.criterion)),
            ratings=[TrialRatingOut.of(rating) for rating in pair.ratings],
        )


class GoldenSummaryOut(BaseModel):
    """Counts over golden examples; the test is passed when `passed` is `total`."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    total: int = Field(examples=[3])
    passed: int = Field(examples=[2])
    wrong: int = Field(description="The other answer in both orders", examples=[0])
    inconsistent: int = Field(description="The answer changed with the order", examples=[1])
    missing: int = Field(description="An order has no valid answer", examples=[0])
    waiting: int = Field(description="Not answered in both orders yet", examples=[0])


class TrialOut(BaseModel):
    """A rubric revision and a judge tried on one pair, or on all golden examples. It is a run of kind `trial`."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="Also the id of the run", examples=["run_01m7xk5mgzeyva4mageqj2tqtk"])
    status: RunStatus
    error: dict[str, Any] | None = Field(description="Why it failed: code, detail, stage", examples=[None])
    pause_reason: str | None = Field(examples=[None])
    rubric_id: str = Field(examples=["rubric_01m7xk5mgzeyva4mageqj2tqtk"])
    revision: RevisionRef
    judge_id: str | None = Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
    pairs: list[TrialPairOut]
    golden: GoldenSummaryOut | None = Field(description="Null for a trial of one pair")
    cost_usd: float = Field(description="What all answers have cost", examples=[0.000034])
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, trial: Trial) -> Self:
        run = trial.run.run
        counts = summary(pair.outcome for pair in trial.pairs) if trial.is_test else None
        return cls(
            id=run.id,
            status=run.status,
            error=run.error,
            pause_reason=run.pause_reason,
            rubric_id=trial.revision.rubric_id,
            revision=RevisionRef.model_validate(trial.revision),
            judge_id=run.judge_id,
            pairs=[TrialPairOut.of(pair) for pair in trial.pairs],
            golden=None if counts is None else GoldenSummaryOut.model_validate(counts),
            cost_usd=float(sum(stage.judge_usd for stage in trial.run.stages)),
            created_at=run.created_at,
            finished_at=run.finished_at,
        )
