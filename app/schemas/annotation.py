"""Claims, answers and agreement, as annotators and those who read them see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from app.repositories.annotation_imports import Imported
from app.repositories.annotation_seats import Answered, Claim
from app.rlaif.annotation import Annotator, Given, PersonAnswer, SkipReason
from app.rlaif.annotators import AgainstOthers, BetweenTwo, QueueAgreement
from app.rlaif.comparison import Order
from app.rlaif.measured import Measured
from app.rlaif.messages import Content
from app.rlaif.rubric import Rubric

Token = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_TOKEN = "Y2xhaW0gdG9rZW4gb2YgMjQgYnl0ZXM"  # noqa: S105  an example


class ClaimIn(BaseModel):
    """Who wants the next item."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [{"annotator": "ada"}]})

    annotator: Annotator = Field(description="One person, always under the same name")
    adjudicate: Annotated[bool, Field(strict=True)] = Field(
        False, description="Ask for an item on which others disagree, to have the last word"
    )


class QuestionOut(BaseModel):
    """What a person is shown, and never what a judge said of it."""

    model_config = ConfigDict(frozen=True)

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    reference: str | None
    criteria: list[dict[str, Any]] = Field(description="The prompt's own, beside the rubric's")
    principle: str | None = Field(description="The rubric's principle for this comparison")
    a: JsonValue = Field(description="The candidate to be shown as A: a text, or a trajectory's turns")
    b: JsonValue = Field(description="The candidate to be shown as B")


class ClaimOut(BaseModel):
    """An item that is one person's until `expires_at`."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(examples=["claim_01m7xk5mgzeyva4mageqj2tqtk"])
    token: str = Field(description="Needed to answer; a later claim of the same item has another", examples=[_TOKEN])
    item_id: str = Field(examples=["item_01m7xk5mgzeyva4mageqj2tqtk"])
    annotator: str = Field(examples=["ada"])
    adjudicate: bool
    expires_at: datetime
    instructions: str
    rubric: Rubric
    question: QuestionOut

    @classmethod
    def of(cls, claim: Claim) -> Self:
        seat, content, prompt = claim.seat, claim.content, claim.content.prompt
        a, b = (content.first, content.second) if seat.order is Order.AB else (content.second, content.first)
        question = QuestionOut(
            messages=prompt["messages"],
            tools=prompt.get("tools"),
            reference=prompt.get("reference"),
            criteria=prompt.get("criteria", []),
            principle=content.principle,
            a=a,
            b=b,
        )
        return cls(
            id=seat.id,
            token=seat.token or "",
            item_id=seat.item_id,
            annotator=seat.annotator or "",
            adjudicate=seat.adjudication,
            expires_at=seat.expires_at,
            instructions=claim.queue.instructions,
            rubric=Rubric.model_validate(claim.rubric.content),
            question=question,
        )


class AnswerIn(BaseModel):
    """What a person answers, as shown: A is the one that was shown as A."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"token": _TOKEN, "answer": "A", "seconds": 41.5, "note": "B invents a date"}]},
    )

    token: Token
    answer: PersonAnswer
    skip_reason: SkipReason | None = Field(None, description="Required with `skip`")
    note: Content | None = None
    seconds: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None = Field(
        None, description="How long the person took"
    )

    @model_validator(mode="after")
    def _a_skip_has_a_reason(self) -> Self:
        if (self.answer is PersonAnswer.SKIP) != (self.skip_reason is not None):
            raise ValueError("a skip has a skip_reason, and nothing else has one")
        return self

    def given(self) -> Given:
        return Given(self.answer, self.skip_reason, self.note, self.seconds)


class ReleaseIn(BaseModel):
    """Which claim is given back."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [{"token": _TOKEN}]})

    token: Token


class AnnotationOut(BaseModel):
    """One person's answer in the comparison's own numbering: A is its first completion, however it was shown."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["annotation_01m7xk5mgzeyva4mageqj2tqtk"])
    queue_id: str = Field(examples=["queue_01m7xk5mgzeyva4mageqj2tqtk"])
    item_id: str = Field(examples=["item_01m7xk5mgzeyva4mageqj2tqtk"])
    comparison_id: str | None = Field(examples=["comparison_01m7xk5mgzeyva4mageqj2tqtk"])
    annotator: str = Field(examples=["ada"])
    answer: PersonAnswer
    skip_reason: SkipReason | None
    note: str | None
    seconds: float | None = Field(examples=[41.5])
    order: Order | None = Field(description="How it was shown; null for an import")
    imported: bool
    adjudication: bool = Field(description="Whether this is the last word on the item")
    created_at: datetime

    @classmethod
    def of(cls, answered: Answered) -> Self:
        row = answered.annotation
        names = [name for name in cls.model_fields if name != "comparison_id"]
        return cls(**{name: getattr(row, name) for name in names}, comparison_id=answered.comparison_id)


class ImportOut(BaseModel):
    """What an upload of labels changed."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="The queue", examples=["queue_01m7xk5mgzeyva4mageqj2tqtk"])
    items_created: int = Field(examples=[999])
    annotations_created: int = Field(examples=[2997])
    annotations_known: int = Field(description="Labels that were there already", examples=[0])

    @classmethod
    def of(cls, queue_id: str, imported: Imported) -> Self:
        return cls(
            id=queue_id,
            items_created=imported.items,
            annotations_created=imported.annotations,
            annotations_known=imported.known,
        )


class AgreementFigureOut(BaseModel):
    """An agreement with its 95 % interval; `n` counts what it was measured on."""

    model_config = ConfigDict(frozen=True)

    value: float = Field(examples=[0.71])
    low: float = Field(examples=[0.62])
    high: float = Field(examples=[0.79])
    n: int = Field(examples=[120])

    @classmethod
    def of(cls, figure: Measured | None) -> Self | None:
        return None if figure is None else cls(value=figure.value, low=figure.low, high=figure.high, n=figure.n)


class AnnotatorAgreementOut(BaseModel):
    """One annotator beside everybody who answered the same items."""

    model_config = ConfigDict(frozen=True)

    annotator: str = Field(examples=["ada"])
    answered: int = Field(examples=[80])
    skipped: int = Field(examples=[2])
    raw: AgreementFigureOut | None
    kappa: AgreementFigureOut | None

    @classmethod
    def of(cls, row: AgainstOthers) -> Self:
        figures = {"raw": AgreementFigureOut.of(row.raw), "kappa": AgreementFigureOut.of(row.kappa)}
        return cls(annotator=row.annotator, answered=row.answered, skipped=row.skipped, **figures)


class PairAgreementOut(BaseModel):
    """Two annotators on the items that both answered."""

    model_config = ConfigDict(frozen=True)

    one: str = Field(examples=["ada"])
    other: str = Field(examples=["bo"])
    raw: AgreementFigureOut | None
    kappa: AgreementFigureOut | None

    @classmethod
    def of(cls, row: BetweenTwo) -> Self:
        figures = {"raw": AgreementFigureOut.of(row.raw), "kappa": AgreementFigureOut.of(row.kappa)}
        return cls(one=row.one, other=row.other, **figures)


class AgreementOut(BaseModel):
    """How far people agree, skips and adjudications left out. What cannot be estimated is null, never zero."""

    model_config = ConfigDict(frozen=True)

    items: int = Field(description="Items that somebody answered", examples=[120])
    alpha: AgreementFigureOut | None = Field(description="Krippendorff's alpha, nominal over A, B and TIE")
    raw: AgreementFigureOut | None = Field(description="Share of pairs of answers to one item that are the same")
    annotators: list[AnnotatorAgreementOut]
    pairs: list[PairAgreementOut] = Field(description="The hundred pairs that share most items")

    @classmethod
    def of(cls, measured: QueueAgreement) -> Self:
        return cls(
            items=measured.items,
            alpha=AgreementFigureOut.of(measured.alpha),
            raw=AgreementFigureOut.of(measured.raw),
            annotators=[AnnotatorAgreementOut.of(row) for row in measured.annotators],
            pairs=[PairAgreementOut.of(row) for row in measured.pairs],
        )
