"""What people are asked and what they answer.

An item has as many seats as people are to answer it; a claim is a seat with a name and an end. So there are never more
live claims and answers than seats, and one person never holds two seats of an item.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, CreatedAt, Id, Json, Long, Moment, Ref, enum_column
from app.rlaif.annotation import PersonAnswer, SettleRule, SkipReason
from app.rlaif.comparison import Answer, Order
from app.rlaif.routing import RoutingReason


class ItemState(StrEnum):
    """`open` until every seat is answered; then `done`, or `adjudicate` until an adjudicator has the last word."""

    OPEN = "open"
    DONE = "done"
    ADJUDICATE = "adjudicate"
    ADJUDICATED = "adjudicated"


class AnnotationQueue(Base):
    """Comparisons that people are asked about, by which rubric, and how many people each."""

    __tablename__ = "annotation_queues"
    __table_args__ = (
        UniqueConstraint("project_id", "name"),
        CheckConstraint("annotators_per_item >= 1", name="somebody_answers"),
        CheckConstraint("claim_ttl_s >= 1", name="claims_last"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    rubric_revision_id: Mapped[Ref] = mapped_column(ForeignKey("rubric_revisions.id"))
    annotators_per_item: Mapped[int] = mapped_column(SmallInteger)
    claim_ttl_s: Mapped[int] = mapped_column(Integer)
    settle_rule: Mapped[SettleRule] = mapped_column(enum_column(SettleRule))
    instructions: Mapped[Long]
    created_at: Mapped[CreatedAt]


class AnnotationItem(Base):
    """A run's comparison, or content that labels were imported with. `answer` is what people's answers settled on."""

    __tablename__ = "annotation_items"
    __table_args__ = (
        UniqueConstraint("queue_id", "comparison_id"),
        UniqueConstraint("queue_id", "content_hash"),
        Index(None, "queue_id", "id"),
        Index(None, "queue_id", "state"),
        Index(None, "queue_id", "prompt_key", "id"),
        CheckConstraint("num_nonnulls(comparison_id, content) = 1", name="comparison_or_content"),
        CheckConstraint("(content IS NULL) = (content_hash IS NULL)", name="content_is_hashed"),
        CheckConstraint("(state IN ('done', 'adjudicated')) = (answer IS NOT NULL)", name="settled_has_answer"),
        CheckConstraint("answer <> 'INVALID'", name="people_are_valid"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    queue_id: Mapped[Ref] = mapped_column(ForeignKey("annotation_queues.id", ondelete="CASCADE"))
    comparison_id: Mapped[Ref | None] = mapped_column(ForeignKey("comparisons.id", ondelete="CASCADE"))
    content: Mapped[Json | None]  # app.rlaif.annotated.AnnotatedPair
    content_hash: Mapped[str | None] = mapped_column(String(64))
    prompt_key: Mapped[Ref]  # what items of one prompt share: the prompt's id, or a hash of an imported one
    reason: Mapped[RoutingReason | None] = mapped_column(enum_column(RoutingReason))  # none: labels were imported
    priority: Mapped[float] = mapped_column(Float)
    state: Mapped[ItemState] = mapped_column(enum_column(ItemState), default=ItemState.OPEN)
    answer: Mapped[Answer | None] = mapped_column(enum_column(Answer))
    created_at: Mapped[CreatedAt]


class AnnotationSeat(Base):
    """The place of one person at an item: free, claimed until `expires_at`, or answered."""

    __tablename__ = "annotation_seats"
    __table_args__ = (
        UniqueConstraint("item_id", "annotator"),
        CheckConstraint('num_nulls(annotator, token, expires_at, "order") IN (0, 4)', name="claimed_whole"),
        CheckConstraint("answered_at IS NULL OR annotator IS NOT NULL", name="answered_by_somebody"),
        Index(  # who claims walks along it
            "ix_annotation_seats_next",
            "queue_id",
            "adjudication",
            text("priority DESC"),
            "item_id",
            "id",
            postgresql_where=text("answered_at IS NULL"),
        ),
        Index("uq_annotation_seats_adjudicator", "item_id", unique=True, postgresql_where=text("adjudication")),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    queue_id: Mapped[Ref] = mapped_column(ForeignKey("annotation_queues.id", ondelete="CASCADE"))
    item_id: Mapped[Ref] = mapped_column(ForeignKey("annotation_items.id", ondelete="CASCADE"))
    priority: Mapped[float] = mapped_column(Float)  # the item's
    adjudication: Mapped[bool]
    annotator: Mapped[str | None] = mapped_column(String(200))
    token: Mapped[str | None] = mapped_column(String(64))
    order: Mapped[Order | None] = mapped_column(enum_column(Order))
    expires_at: Mapped[Moment | None]
    answered_at: Mapped[Moment | None] = mapped_column(DateTime(timezone=True))


class Annotation(Base):
    """One person's answer in the comparison's own numbering. `order` is how it was shown; an import does not say."""

    __tablename__ = "annotations"
    __table_args__ = (
        UniqueConstraint("item_id", "annotator"),
        Index(None, "queue_id", "id"),
        Index("uq_annotations_adjudication", "item_id", unique=True, postgresql_where=text("adjudication")),
        CheckConstraint("(answer = 'skip') = (skip_reason IS NOT NULL)", name="skip_has_reason"),
        CheckConstraint("NOT adjudication OR answer <> 'skip'", name="adjudication_decides"),
        CheckConstraint('imported = ("order" IS NULL)', name="shown_unless_imported"),
        CheckConstraint("seconds >= 0", name="seconds_not_negative"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    queue_id: Mapped[Ref] = mapped_column(ForeignKey("annotation_queues.id", ondelete="CASCADE"))
    item_id: Mapped[Ref] = mapped_column(ForeignKey("annotation_items.id", ondelete="CASCADE"))
    annotator: Mapped[str] = mapped_column(String(200))
    answer: Mapped[PersonAnswer] = mapped_column(enum_column(PersonAnswer))
    skip_reason: Mapped[SkipReason | None] = mapped_column(enum_column(SkipReason))
    note: Mapped[Long | None]
    seconds: Mapped[float | None] = mapped_column(Float)
    order: Mapped[Order | None] = mapped_column(enum_column(Order))
    imported: Mapped[bool]
    adjudication: Mapped[bool]
    created_at: Mapped[CreatedAt]
