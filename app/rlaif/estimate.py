"""What a run will probably take, before anything is spent. Pure; what nobody knows is null, never invented."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.prices import Tariff
from app.rlaif.recipe import StageKind
from app.rlaif.workload import Asked

CHARACTERS_PER_TOKEN = (6.0, 4.0, 2.5)
"""For few, the usual and many tokens: English in a large vocabulary, and everything else."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Span(_Part):
    """A figure with what it may well turn out to be."""

    low: float = Field(ge=0)
    expected: float = Field(ge=0)
    high: float = Field(ge=0)

    def __add__(self, other: Span) -> Span:
        return Span(low=self.low + other.low, expected=self.expected + other.expected, high=self.high + other.high)


class JudgeEstimate(_Part):
    """What one judge is asked in one stage."""

    judge_id: str = Field(examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"])
    name: str = Field(examples=["gpt"])
    calls: int = Field(description="Questions; retries of failed calls come on top", examples=[2400])
    answers: int = Field(description="Verdicts or scores that will be stored", examples=[2400])
    prompt_tokens: Span
    completion_tokens: Span
    usd: Span | None = Field(description="Null where nobody has given a price; stored replies are not deducted")
    seconds: Span | None = Field(description="With one shard at a time; null before anything is known of its pace")
    notes: list[str] = Field(description="What the figures rest on")


class StageEstimate(_Part):
    """What one stage will take."""

    round: int = Field(examples=[0])
    stage: StageKind
    units: int | None = Field(description="Completions to sample; null where a stage has no such count")
    judges: list[JudgeEstimate]
    seconds: Span | None = Field(description="Null where no past run of this project tells")
    notes: list[str]


class Estimate(_Part):
    """What a run will take, stage by stage and in all."""

    stages: list[StageEstimate]
    calls: int
    prompt_tokens: Span
    completion_tokens: Span
    usd: Span | None = Field(description="Null where the price of a judge is not known")
    seconds: Span | None = Field(description="Null where the time of any stage is not known")
    budget_reached: bool | None = Field(
        description="Whether the expected cost is above budget.judge_usd; null without such a limit or a price"
    )


@dataclass(frozen=True, slots=True)
class Lengths:
    """Characters that a question holds beside its prompt and responses, and completion tokens of a reply."""

    overhead: float
    reply: Span


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a judge can be asked. `in_flight` is what one shard has; `latency_s` that of its past calls."""

    in_flight: int
    latency_s: float | None
    calls_per_second: float | None

    def seconds(self, calls: int) -> Span | None:
        """By what limits it most; within half and twice of that, since nobody knows how the endpoint will be."""
        rates = [] if self.latency_s is None else [self.in_flight / max(self.latency_s, 1e-3)]
        rates += [] if self.calls_per_second is None else [self.calls_per_second]
        if not rates:
            return None
        expected = calls / min(rates)
        return Span(low=expected / 2, expected=expected, high=2 * expected)


def judge_estimate(
    asked: Asked,
    *,
    judge_id: str,
    name: str,
    lengths: Lengths,
    tariff: Tariff | None,
    pace: Pace,
    optional: bool = False,
) -> JudgeEstimate:
    """`optional`: a cascade's later judge, which may be asked less than all, or nothing."""
    characters = asked.questions * lengths.overhead + asked.prompt_characters + asked.response_characters
    low, usual, high = (characters / each for each in CHARACTERS_PER_TOKEN)
    prompt = Span(low=0 if optional else low, expected=usual, high=high)
    reply = Span(
        low=0 if optional else asked.questions * lengths.reply.low,
        expected=asked.questions * lengths.reply.expected,
        high=asked.questions * lengths.reply.high,
    )
    notes = ["tokens are estimated from characters"]
    if optional:
        notes.append("asked only what the judges before it leave open: at most so much")
    if tariff is None:
        notes.append("no price is known: state it in the judge, or have the operator add the model to RLAIF_PRICES")
    return JudgeEstimate(
        judge_id=judge_id,
        name=name,
        calls=asked.questions,
        answers=asked.answers,
        prompt_tokens=prompt,
        completion_tokens=reply,
        usd=None if tariff is None else _dollars(tariff, prompt, reply),
        seconds=pace.seconds(asked.questions),
        notes=notes,
    )


AT_MOST = "at most so much: the rounds may end before this one"


def in_round(stage: StageEstimate, round_: int) -> StageEstimate:
    """The same stage in a later round, which may never be run."""
    return stage.model_copy(update={"round": round_, "notes": [*stage.notes, AT_MOST]})


def together(parts: list[StageEstimate]) -> StageEstimate:
    """One stage that has several parts, such as the candidates of a sweep, each with judges of its own."""
    first, *others = parts
    if not others:
        return first
    return first.model_copy(
        update={
            "judges": [judge for part in parts for judge in part.judges],
            "seconds": total([part.seconds for part in parts]),
            "notes": list(dict.fromkeys(note for part in parts for note in part.notes)),
        }
    )


def whole(stages: list[StageEstimate], *, limit_usd: float | None) -> Estimate:
    """The sums; a part that is not known leaves them unknown."""
    judges = [judge for stage in stages for judge in stage.judges]
    usd = total([judge.usd for judge in judges])
    return Estimate(
        stages=stages,
        calls=sum(judge.calls for judge in judges),
        prompt_tokens=total([judge.prompt_tokens for judge in judges]) or ZERO,
        completion_tokens=total([judge.completion_tokens for judge in judges]) or ZERO,
        usd=usd,
        seconds=total([stage.seconds for stage in stages]),
        budget_reached=None if limit_usd is None or usd is None else usd.expected >= limit_usd,
    )


ZERO = Span(low=0, expected=0, high=0)


def total(spans: list[Span] | list[Span | None]) -> Span | None:
    """The sum; None where one of them is not known."""
    known = [span for span in spans if span is not None]
    return sum(known, ZERO) if len(known) == len(spans) else None


def _dollars(tariff: Tariff, prompt: Span, reply: Span) -> Span:
    return Span(
        low=float(_cost(tariff, prompt.low, reply.low)),
        expected=float(_cost(tariff, prompt.expected, reply.expected)),
        high=float(_cost(tariff, prompt.high, reply.high)),
    )


def _cost(tariff: Tariff, prompt_tokens: float, completion_tokens: float) -> Decimal:
    return tariff.cost(round(prompt_tokens), round(completion_tokens))
