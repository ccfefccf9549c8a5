"""What a model made of its own answers by the principles of a constitution."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, SmallInteger, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Big, CreatedAt, Id, Long, Ref, enum_column
from app.db.models.inputs import Split
from app.rlaif.critique import Ending


class RevisedAnswer(Base):
    """One step of one prompt: step 0 is the base model's own answer, each later one a critique and a revision."""

    __tablename__ = "revisions"
    __table_args__ = (
        UniqueConstraint("run_id", "prompt_id", "step", name="uq_revisions_unit"),
        Index(None, "run_id", "id"),
        CheckConstraint("(step = 0) = (principle IS NULL)", name="revisions_have_principles"),
        CheckConstraint("finish_reason IN ('stop', 'length') OR step > 0", name="answers_are_written"),
        CheckConstraint("(finish_reason IS NULL) = (text IS NULL)", name="what_ended_has_text"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[Ref] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    split: Mapped[Split] = mapped_column(enum_column(Split))
    prompt_id: Mapped[Ref] = mapped_column(ForeignKey("prompts.id"))
    step: Mapped[int] = mapped_column(SmallInteger)
    principle: Mapped[Long | None]
    critique: Mapped[Long | None]  # None for step 0, and where there is none
    text: Mapped[Long | None]  # None between a paid critique and the revision; empty where there is no revision
    finish_reason: Mapped[Ending | None] = mapped_column(enum_column(Ending))
    prompt_tokens: Mapped[int | None] = mapped_column(Integer)  # of what was asked for the text
    critique_tokens: Mapped[int | None] = mapped_column(Integer)
    tokens: Mapped[int | None] = mapped_column(Integer)
    critique_seed: Mapped[Big | None]
    seed: Mapped[Big | None]
    created_at: Mapped[CreatedAt]
